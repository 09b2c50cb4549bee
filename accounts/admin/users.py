"""Users in Django admin. Every change goes through the services, so the last Admin stays."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path

from accounts.models import User
from accounts.services.second_factor import reset_second_factor
from accounts.services.sessions import end_sessions
from accounts.services.users import change_user, create_user, delete_user, set_password
from llamagpu.http.errors import AppError
from llamagpu.http.model_admin import PortalModelAdmin

_NAMES = ["email", "first_name", "last_name"]


def _password_field(label: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        max_length=4096,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class PasswordForm(forms.Form):
    """A password, twice. The service judges its strength."""

    password = _password_field("Password")
    repeated = _password_field("Password again")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("password") != cleaned.get("repeated"):
            self.add_error("repeated", "The two passwords differ.")
        return cleaned


class NewUserForm(PasswordForm, forms.ModelForm):
    """A user with a first password."""

    class Meta:
        model = User
        fields = ["username", "role", *_NAMES]


@admin.register(User)
class UserAdmin(PortalModelAdmin):
    """Who may sign in, and as what."""

    list_display = ["username", "email", "role", "is_active", "last_login", "date_joined"]
    list_filter = ["role", "is_active", "last_login"]
    search_fields = ["username", "email", "first_name", "last_name"]
    list_select_related = ["role"]
    ordering = ["username"]
    actions = ["activate", "deactivate", "sign_out", "reset_factor"]
    change_form_template = "accounts/admin/user_form.html"

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        if obj is None:
            kwargs["form"] = NewUserForm
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        if obj is None:
            first = ["username", "role", "password", "repeated"]
            return [(None, {"fields": first}), ("Person", {"fields": _NAMES})]
        return [
            (None, {"fields": ["username", "role", "is_active"]}),
            ("Person", {"fields": _NAMES}),
            ("Jobs", {"fields": ["retention"]}),
            ("Dates", {"fields": ["last_login", "date_joined"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        return [] if obj is None else ["username", "last_login", "date_joined"]

    # ------------------------------------------------------------------ writes
    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        actor: Any = request.user
        values = {name: getattr(obj, name) for name in _NAMES} | {"role": obj.role.slug}
        if change:
            values["retention"] = obj.retention
            change_user(actor=actor, user=obj, is_active=obj.is_active, **values)
            return
        made = create_user(
            actor=actor,
            username=obj.username,
            password=form.cleaned_data["password"],
            **values,
        )
        obj.pk = made.pk

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        delete_user(actor=request.user, user=obj)  # type: ignore[arg-type]

    @admin.action(description="Let the selected users in", permissions=["change"])
    def activate(self, request: HttpRequest, users: Any) -> None:
        self._change_each(request, users, True, "let in")

    @admin.action(description="Shut the selected users out", permissions=["change"])
    def deactivate(self, request: HttpRequest, users: Any) -> None:
        self._change_each(request, users, False, "shut out, their sessions and keys with them")

    @admin.action(description="End the sessions of the selected users", permissions=["change"])
    def sign_out(self, request: HttpRequest, users: Any) -> None:
        actor: Any = request.user
        self.act_on_each(
            request, users, lambda user: end_sessions(actor=actor, user=user), "signed out"
        )

    @admin.action(description="Reset the second factor of the users", permissions=["change"])
    def reset_factor(self, request: HttpRequest, users: Any) -> None:
        actor: Any = request.user
        self.act_on_each(
            request,
            users,
            lambda user: reset_second_factor(actor=actor, user=user),
            "without a second factor now",
        )

    def _change_each(self, request: HttpRequest, users: Any, is_active: bool, done: str) -> None:
        actor: Any = request.user
        self.act_on_each(
            request,
            users,
            lambda user: change_user(actor=actor, user=user, is_active=is_active),
            done,
        )

    # ------------------------------------------------------------------ password
    def get_urls(self) -> Any:
        page = self.admin_site.admin_view(self.password_view)
        return [
            path("<int:pk>/password/", page, name="accounts_user_password"),
            *super().get_urls(),
        ]

    def password_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """A page that gives a user a new password."""
        user = self.get_queryset(request).filter(pk=pk).first()
        if user is None:
            raise Http404
        if not self.has_change_permission(request, user):
            raise PermissionDenied
        form = PasswordForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                set_password(
                    actor=request.user,  # type: ignore[arg-type]
                    user=user,
                    password=form.cleaned_data["password"],
                )
            except AppError as error:
                form.add_error(None, error.message)
            else:
                said = f"{user} has a new password and is signed out everywhere."
                self.message_user(request, said, messages.SUCCESS)
                return HttpResponseRedirect(self._address("change", str(pk)))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "New password",
            "subtitle": str(user),
            "original": user,
            "form": form,
        }
        return render(request, "accounts/admin/password.html", context)
