"""What is counted of alerts."""

from __future__ import annotations

from monitoring.metrics import Counter, Gauge, Merge

FIRING = Gauge("alerts_firing", "Alerts that fire now.", ("severity",), merge=Merge.LAST)
DELIVERIES = Counter(
    "alert_deliveries_total", "Attempts to send alerts, by outcome.", ("kind", "outcome")
)
