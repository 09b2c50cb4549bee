from django.apps import AppConfig


class PluginsConfig(AppConfig):
    """HOW IT IS EXTENDED: the plugin contract and the pipeline that runs plugins."""

    name = "plugins_app"
    verbose_name = "Plugins"

    def ready(self) -> None:
        from plugins_app import liveness, navigation

        navigation.register_entries()
        liveness.register()
