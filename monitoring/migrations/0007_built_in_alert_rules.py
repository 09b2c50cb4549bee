"""The rules that every installation begins with. They can be changed and turned off."""

from django.db import migrations

# name, metric, comparison, threshold, duration, window, severity, summary
RULES = (
    ("No worker serves", "workers", "<", 1, 2, 300, "critical",
     "Calls get 503 NO_WORKER. Look at the worker's log."),
    ("A worker died", "worker_deaths", ">", 0, 0, 300, "warning",
     "It is started again; its jobs were taken over. Its log and the kernel's say why."),
    ("A part of the portal is down", "service_up", "==", 0, 120, 300, "critical",
     "GET /api/system/status says what is wrong with it."),
    ("The queue grows", "queue_growth", ">", 25, 30, 120, "warning",
     "Workers cannot follow: more of them, more slots, or lower limits."),
    ("Requests fail", "error_ratio", ">", 0.05, 60, 300, "warning",
     "request_failure_total tells the codes, the log the reasons."),
    ("An engine keeps crashing", "engine_crashes_total", ">=", 3, 0, 900, "critical",
     "Memory, driver, or one kind of request."),
    ("GPU memory is full", "gpu_memory_used_ratio", ">", 0.97, 600, 300, "warning",
     "The next larger prompt may not fit."),
    ("A GPU is hot", "gpu_temperature_celsius", ">", 87, 300, 300, "warning",
     "It will lower its clocks: look at its cooling."),
    ("A disk is nearly full", "disk_used_ratio", ">", 0.9, 300, 300, "warning",
     "Uploads stop with less than 64 MiB free."),
    ("A plugin is left out", "plugin_breaker_open", ">=", 1, 0, 300, "warning",
     "It kept failing; its page says how."),
    ("A quota is nearly used up", "quota_used_ratio", ">=", 0.8, 0, 300, "info",
     "What is left of it may not last."),
    ("A quota is used up", "quota_used_ratio", ">=", 1, 0, 300, "warning",
     "Its calls get 429 QUOTA_EXCEEDED until the period ends."),
)  # fmt: skip


def seed(apps, schema_editor):
    AlertRule = apps.get_model("monitoring", "AlertRule")
    for name, metric, comparison, threshold, duration, window, severity, summary in RULES:
        AlertRule.objects.get_or_create(
            name=name,
            defaults={
                "metric": metric,
                "comparison": comparison,
                "threshold": threshold,
                "duration": duration,
                "window": window,
                "severity": severity,
                "summary": summary,
                "is_builtin": True,
            },
        )


def unseed(apps, schema_editor):
    apps.get_model("monitoring", "AlertRule").objects.filter(is_builtin=True).delete()


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0006_alerts")]
    operations = [migrations.RunPython(seed, unseed)]
