from django.urls import path

from monitoring.api.live import socketio_polling
from monitoring.api.metrics import MetricsView
from monitoring.api.views import livez, readyz
from monitoring.views.alerts import AlertsPage
from monitoring.views.audit import AuditPage
from monitoring.views.configuration import ConfigurationPage
from monitoring.views.logs import LogsPage
from monitoring.views.monitoring import MonitoringPage
from monitoring.views.overview import home

urlpatterns = [
    path("", home, name="home"),
    path("alerts", AlertsPage.as_view(), name="alerts"),
    path("audit", AuditPage.as_view(), name="audit"),
    path("monitoring", MonitoringPage.as_view(), name="monitoring"),
    path("settings", ConfigurationPage.as_view(), name="system-config"),
    path("logs", LogsPage.as_view(), name="logs"),
    path("livez", livez, name="livez"),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("readyz", readyz, name="readyz"),
    path("socket.io/", socketio_polling, name="socketio-polling"),
]
