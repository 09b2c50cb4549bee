from django.apps import AppConfig


class MonitoringConfig(AppConfig):
    """WHAT HAPPENED: audit, health, measured numbers."""

    name = "monitoring"
    verbose_name = "Monitoring"

    def ready(self) -> None:
        from monitoring import live_settings, navigation, probes, refusals

        probes.register()
        navigation.register_entries()
        refusals.register()
        live_settings.register()
