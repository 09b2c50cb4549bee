"""Every deed that the audit log knows, as `<noun>.<past participle>`."""

from __future__ import annotations

from enum import StrEnum


class AuditAction(StrEnum):
    """Once released, a value keeps its meaning: old rows carry it for ever."""

    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    USER_DELETED = "user.deleted"
    USER_DEACTIVATED = "user.deactivated"
    USER_ACTIVATED = "user.activated"
    PASSWORD_CHANGED = "user.password_changed"  # noqa: S105  the name of a deed
    SESSIONS_ENDED = "user.sessions_ended"
    SECOND_FACTOR_ENABLED = "user.second_factor_enabled"
    SECOND_FACTOR_DISABLED = "user.second_factor_disabled"
    RECOVERY_CODES_MADE = "user.recovery_codes_made"
    RESET_LINK_MADE = "user.reset_link_made"
    IDENTITY_LINKED = "user.identity_linked"

    ROLE_CREATED = "role.created"
    ROLE_CHANGED = "role.changed"
    ROLE_DELETED = "role.deleted"

    KEY_CREATED = "api_key.created"
    KEY_CHANGED = "api_key.changed"
    KEY_ROTATED = "api_key.rotated"
    KEY_REVOKED = "api_key.revoked"

    LIMITS_CHANGED = "limits.changed"
    CONFIGURATION_CHANGED = "configuration.changed"

    LOGGED_IN = "session.logged_in"
    LOGIN_FAILED = "session.login_failed"
    LOGIN_LOCKED = "session.login_locked"
    LOGIN_UNLOCKED = "session.login_unlocked"
    LOGGED_OUT = "session.logged_out"

    MODEL_REGISTERED = "model.registered"
    MODEL_VANISHED = "model.vanished"
    MODEL_CHANGED = "model.changed"
    MODEL_LOADED = "model.loaded"
    MODEL_UNLOADED = "model.unloaded"
    MODEL_REMOVED = "model.removed"
    MODEL_PULL_STARTED = "model.pull_started"
    MODEL_PULL_CANCELLED = "model.pull_cancelled"
    MODEL_PULLED = "model.pulled"
    UPSTREAM_CHANGED = "model.upstream_changed"

    PLUGIN_DISCOVERED = "plugin.discovered"
    PLUGIN_REJECTED = "plugin.rejected"
    PLUGIN_FILES_CHANGED = "plugin.files_changed"
    PLUGIN_VANISHED = "plugin.vanished"
    PLUGIN_APPROVED = "plugin.approved"
    PLUGIN_ENABLED = "plugin.enabled"
    PLUGIN_DISABLED = "plugin.disabled"
    PLUGIN_RELOADED = "plugin.reloaded"
    PLUGIN_CHANGED = "plugin.changed"
    PLUGIN_CONFIGURED = "plugin.configured"
    PLUGIN_ROLLED_BACK = "plugin.rolled_back"
    PLUGIN_UPLOADED = "plugin.uploaded"
    PLUGIN_REMOVED = "plugin.removed"
    PLUGIN_TRIED = "plugin.tried"

    FILE_STORED = "file.stored"
    FILE_DELETED = "file.deleted"
    BATCH_CREATED = "batch.created"
    BATCH_CANCELLED = "batch.cancelled"

    ALERT_RULE_CREATED = "alert_rule.created"
    ALERT_RULE_CHANGED = "alert_rule.changed"
    ALERT_RULE_DELETED = "alert_rule.deleted"
    ALERT_FIRED = "alert.fired"
    ALERT_RESOLVED = "alert.resolved"
    ALERT_ACKNOWLEDGED = "alert.acknowledged"
    ALERT_SILENCED = "alert.silenced"
    ALERT_SILENCE_ENDED = "alert.silence_ended"
    ALERT_CHANNEL_CREATED = "alert_channel.created"
    ALERT_CHANNEL_CHANGED = "alert_channel.changed"
    ALERT_CHANNEL_DELETED = "alert_channel.deleted"
    ALERT_CHANNEL_TESTED = "alert_channel.tested"
    ALERT_NOT_DELIVERED = "alert_channel.not_delivered"

    JOB_CANCELLED = "job.cancelled"
    JOB_CONTENT_READ = "job.content_read"
    ACCESS_REFUSED = "access.refused"
    AUDIT_EXPORTED = "audit.exported"
    AUDIT_ARCHIVED = "audit.archived"


class Outcome(StrEnum):
    """How the deed went."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
