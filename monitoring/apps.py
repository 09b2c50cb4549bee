from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class MonitoringConfig(AppConfig):
    """WHAT HAPPENED: audit, health, measured numbers."""

    name = "monitoring"
    verbose_name = "Monitoring"

    def ready(self) -> None:
        from monitoring import (
            http_metrics,
            live_settings,
            navigation,
            probes,
            refusals,
            snapshot,
            store_metrics,
        )
        from monitoring.alerts import values, watch
        from monitoring.monitor.duties import register_duty
        from monitoring.services.history import remove_expired
        from monitoring.services.rollups import roll_up

        autodiscover_modules("metrics")
        http_metrics.register()
        store_metrics.register()
        probes.register()
        navigation.register_entries()
        refusals.register()
        live_settings.register()
        snapshot.register()
        register_duty("roll-ups", roll_up, every=20)
        register_duty("retention of the history", remove_expired, every=600)
        values.register()
        watch.register()
