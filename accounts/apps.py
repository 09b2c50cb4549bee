from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """WHO: roles and their rights, users, API keys."""

    name = "accounts"
    verbose_name = "Accounts"
