"""Which audit rows are asked for: the same filters for the API, the export and the page."""

from __future__ import annotations

from rest_framework import serializers

from llamagpu.http.fields import StrictSerializer
from monitoring.audit_actions import AuditAction, Outcome

_TIMES = ["iso-8601", "%Y-%m-%d"]


class AuditFilters(StrictSerializer):
    """All of them must hold. `since` is included, `until` is not; `q` looks for words."""

    actor = serializers.CharField(max_length=150, required=False)
    action = serializers.ChoiceField([word.value for word in AuditAction], required=False)
    outcome = serializers.ChoiceField([word.value for word in Outcome], required=False)
    target_type = serializers.CharField(max_length=64, required=False)
    target_id = serializers.CharField(max_length=64, required=False)
    ip = serializers.IPAddressField(required=False)
    key = serializers.CharField(max_length=8, required=False)
    request_id = serializers.CharField(max_length=64, required=False)
    since = serializers.DateTimeField(input_formats=_TIMES, required=False)
    until = serializers.DateTimeField(input_formats=_TIMES, required=False)
    q = serializers.CharField(max_length=200, required=False)


class AuditExportFilters(AuditFilters):
    """`as` is jsonl or csv."""

    def get_fields(self) -> dict[str, serializers.Field]:
        # `as` is a word of Python and cannot be an attribute.
        return {
            **super().get_fields(),
            "as": serializers.ChoiceField(["jsonl", "csv"], required=False, default="jsonl"),
        }
