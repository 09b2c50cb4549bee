from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """WHO: roles and their rights, users, API keys."""

    name = "accounts"
    verbose_name = "Accounts"

    def ready(self) -> None:
        from accounts import limit_status, metrics, navigation, quota_values, role_rights
        from accounts.api import schema  # noqa: F401  registers itself with drf-spectacular

        limit_status.register()
        metrics.register()
        quota_values.register()
        navigation.register_entries()
        role_rights.forget_on_change()
