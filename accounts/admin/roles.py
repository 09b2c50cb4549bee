"""Roles and the permission matrix in Django admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from accounts.forms.roles import RIGHT_CHOICES, right_field
from accounts.models import ADMIN_ROLE, Role, RolePermission
from accounts.rights import rights_of
from accounts.services.roles import change_role, create_role, delete_role
from llamagpu.http.model_admin import PortalModelAdmin, ReadOnlyModelAdmin
from llamagpu.http.permissions import Resource

_TEXTS = dict(RIGHT_CHOICES)
_CELLS = {resource: f"right_{resource.value}" for resource in Resource}

if admin.site.is_registered(Group):
    admin.site.unregister(Group)  # rights come from roles alone


class RoleForm(forms.ModelForm):
    """A role with one choice for each resource: its row of the matrix."""

    class Meta:
        model = Role
        fields = ["slug", "name", "description"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.slug == ADMIN_ROLE:
            for field in _CELLS.values():
                self.fields.pop(field, None)
        elif self.instance.pk is not None:
            for name, right in rights_of(self.instance).items():
                self.initial[_CELLS[Resource(name)]] = right

    def rights(self) -> dict[str, str]:
        """The cells that the page showed."""
        return {
            resource.value: self.cleaned_data[field]
            for resource, field in _CELLS.items()
            if field in self.cleaned_data
        }


# One field for each cell, so that a new resource shows here by itself.
for _resource, _field in _CELLS.items():
    RoleForm.base_fields[_field] = RoleForm.declared_fields[_field] = right_field(_resource)


@admin.register(Role)
class RoleAdmin(PortalModelAdmin):
    """Roles and what they may do. The Admin role always has every right."""

    form = RoleForm
    list_display = ["name", "slug", "matrix", "num_users", "is_builtin"]
    list_filter = ["is_builtin"]
    search_fields = ["name", "slug", "description"]
    ordering = ["id"]
    # Deleting many roles at once is rarely meant.
    actions = None

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.with_matrix()

    def get_fieldsets(self, request: HttpRequest, obj: Role | None = None) -> Any:
        fixed = obj is not None and (
            obj.slug == ADMIN_ROLE or not self.has_change_permission(request, obj)
        )
        cells = ["matrix"] if fixed else list(_CELLS.values())
        return [
            (None, {"fields": ["slug", "name", "description"]}),
            ("What the role may do with each resource", {"fields": cells}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Role | None = None) -> Any:
        return ["matrix"] if obj is None else ["matrix", "slug"]

    def has_delete_permission(self, request: HttpRequest, obj: Role | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_builtin)

    @admin.display(description="rights")
    def matrix(self, role: Role) -> str:
        return ", ".join(
            f"{name.replace('_', ' ')}: {_TEXTS[right]}"
            for name, right in rights_of(role).items()
            if right
        )

    @admin.display(description="users", ordering="num_users")
    def num_users(self, role: Any) -> int:
        return int(role.num_users)

    def save_model(self, request: HttpRequest, obj: Role, form: Any, change: bool) -> None:
        actor: Any = request.user
        texts = {"name": obj.name, "description": obj.description}
        if change:
            change_role(actor=actor, role=obj, rights=form.rights(), **texts)
        else:
            obj.pk = create_role(actor=actor, slug=obj.slug, rights=form.rights(), **texts).pk

    def delete_model(self, request: HttpRequest, obj: Role) -> None:
        delete_role(actor=request.user, role=obj)  # type: ignore[arg-type]


@admin.register(RolePermission)
class RolePermissionAdmin(ReadOnlyModelAdmin):
    """The cells of the matrix one by one, to look up who may do something. They change with the role."""

    list_display = ["role", "resource", "can_read", "can_write"]
    list_filter = ["resource", "can_read", "can_write", "role"]
    search_fields = ["role__name", "role__slug", "resource"]
    list_select_related = ["role"]
    actions = None
