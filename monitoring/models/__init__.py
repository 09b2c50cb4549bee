"""Tables of what happened and of how the installation is configured, by noun."""

from monitoring.models.alerts import (
    Alert,
    AlertChannel,
    AlertDelivery,
    AlertRule,
    AlertSilence,
)
from monitoring.models.audit import (
    AppendOnlyError,
    AuditHead,
    AuditLog,
    AuditSeal,
    AuditVerification,
)
from monitoring.models.configuration import ConfigValue
from monitoring.models.metrics import MetricSample

__all__ = [
    "Alert",
    "AlertChannel",
    "AlertDelivery",
    "AlertRule",
    "AlertSilence",
    "AppendOnlyError",
    "AuditHead",
    "AuditLog",
    "AuditSeal",
    "AuditVerification",
    "ConfigValue",
    "MetricSample",
]
