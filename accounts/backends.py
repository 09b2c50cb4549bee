"""Django's own question `has_perm`, answered by the role: what Django admin shows follows from it."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth.backends import ModelBackend

from accounts.models import User
from llamagpu.http.permissions import Action, Resource

# By app, then by `app.model`. What is not named belongs to the system configuration.
_BY_APP = {"plugins_app": Resource.PLUGINS}
_BY_MODEL = {
    "inference.model": Resource.MODELS,
    "inference.upstream": Resource.MODELS,
    # Rows are narrowed by `visible_to`, and prompts and outputs are shown to nobody.
    "inference.inferencejob": Resource.MONITORING,
    "monitoring.alert": Resource.MONITORING,
    "monitoring.alertrule": Resource.MONITORING,
    "monitoring.alertsilence": Resource.MONITORING,
    "monitoring.alertchannel": Resource.MONITORING,
    "monitoring.alertdelivery": Resource.MONITORING,
}


class RoleBackend(ModelBackend):
    """Signs in by password; knows no permissions but those of the user's role."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether the role grants `perm`, such as `accounts.change_user`: view reads, the rest writes."""
        if not isinstance(user_obj, User):
            return False
        app_label, _, codename = perm.partition(".")
        verb, _, model_name = codename.partition("_")
        action = Action.READ if verb == "view" else Action.WRITE
        return user_obj.can(resource_of(app_label, model_name), action)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Whether the role may read anything of that app."""
        if not isinstance(user_obj, User):
            return False
        names = [
            model._meta.model_name or "" for model in apps.get_app_config(app_label).get_models()
        ]
        return any(user_obj.can(resource_of(app_label, name), Action.READ) for name in names)

    def get_user_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_group_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_all_permissions(self, user_obj: Any, obj: Any = None) -> set[str]:
        return set()

    def get_user(self, user_id: Any) -> User | None:
        """The active user with the role and its rights at hand, or None."""
        user = User.objects.get_queryset().with_rights().filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None


def resource_of(app_label: str, model_name: str) -> Resource:
    """The resource whose rights govern a model's rows in Django admin."""
    named = _BY_MODEL.get(f"{app_label}.{model_name}")
    return named or _BY_APP.get(app_label, Resource.SYSTEM_CONFIG)
