from django.urls import path

from monitoring.api.alert_channels import (
    ChannelsView,
    ChannelTestView,
    ChannelView,
    DeliveriesView,
)
from monitoring.api.alert_rules import RulesView, RuleView, SilencesView, SilenceView
from monitoring.api.alerts import (
    AcknowledgeView,
    AlertsView,
    AlertView,
    EvaluationView,
    WatchablesView,
)
from monitoring.api.audit import AuditExportView, AuditView
from monitoring.api.configuration import ConfigurationView
from monitoring.api.history import HistoryView
from monitoring.api.logs import LogsView
from monitoring.api.views import GpuView, SystemStatusView

urlpatterns = [
    path("system/status", SystemStatusView.as_view(), name="system-status"),
    path("system/gpu", GpuView.as_view(), name="system-gpu"),
    path("system/metrics", HistoryView.as_view(), name="system-metrics"),
    path("system/logs", LogsView.as_view(), name="system-logs"),
    path("system/config", ConfigurationView.as_view(), name="configuration"),
    path("alerts", AlertsView.as_view(), name="alert-rows"),
    path("alerts/status", EvaluationView.as_view(), name="alert-status"),
    path("alerts/metrics", WatchablesView.as_view(), name="alert-metrics"),
    path("alerts/rules", RulesView.as_view(), name="alert-rules"),
    path("alerts/rules/<int:pk>", RuleView.as_view(), name="alert-rule"),
    path("alerts/silences", SilencesView.as_view(), name="alert-silences"),
    path("alerts/silences/<int:pk>", SilenceView.as_view(), name="alert-silence"),
    path("alerts/channels", ChannelsView.as_view(), name="alert-channels"),
    path("alerts/channels/<int:pk>", ChannelView.as_view(), name="alert-channel"),
    path("alerts/channels/<int:pk>/test", ChannelTestView.as_view(), name="alert-channel-test"),
    path("alerts/deliveries", DeliveriesView.as_view(), name="alert-deliveries"),
    path("alerts/<int:pk>", AlertView.as_view(), name="alert"),
    path("alerts/<int:pk>/acknowledge", AcknowledgeView.as_view(), name="alert-acknowledge"),
    path("audit", AuditView.as_view(), name="audit-rows"),
    path("audit/export", AuditExportView.as_view(), name="audit-export"),
]
