"""Pages of accounts in Django admin, a module for each noun."""

from accounts.admin import api_keys, limits, roles, sign_in, usage, users

__all__ = ["api_keys", "limits", "roles", "sign_in", "usage", "users"]
