"""Tables of what happened and of how the installation is configured, by noun."""

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
    "AppendOnlyError",
    "AuditHead",
    "AuditLog",
    "AuditSeal",
    "AuditVerification",
    "ConfigValue",
    "MetricSample",
]
