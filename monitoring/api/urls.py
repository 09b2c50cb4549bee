from django.urls import path

from monitoring.api.audit import AuditExportView, AuditView
from monitoring.api.configuration import ConfigurationView
from monitoring.api.history import HistoryView
from monitoring.api.views import GpuView, SystemStatusView

urlpatterns = [
    path("system/status", SystemStatusView.as_view(), name="system-status"),
    path("system/gpu", GpuView.as_view(), name="system-gpu"),
    path("system/metrics", HistoryView.as_view(), name="system-metrics"),
    path("system/config", ConfigurationView.as_view(), name="configuration"),
    path("audit", AuditView.as_view(), name="audit-rows"),
    path("audit/export", AuditExportView.as_view(), name="audit-export"),
]
