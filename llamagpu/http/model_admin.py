"""What all pages of Django admin share: rights by role, writes by services, refusals as messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from llamagpu.http.errors import AppError
from llamagpu.http.refusals import report_denied
from llamagpu.lib.error_codes import ErrorCode


class PortalModelAdmin(admin.ModelAdmin):
    """Shows what `visible_to` shows. Who may do what is asked of the role (`RoleBackend`).

    A subclass that writes overrides `save_model`, `delete_model` and so on and calls services there;
    their AppErrors become a message on the page, and nothing is written. The audit log is the
    history: Django's own is not kept.
    """

    list_per_page = 50
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request)
        visible_to = getattr(rows, "visible_to", None)
        return rows if visible_to is None else visible_to(request.user)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        """Only for fields that the page shows: a filter on a hidden one would spell it out."""
        shown = {str(name) for name in (*self.list_display, self.date_hierarchy, "pk", "id")}
        for entry in self.list_filter:
            name = entry[0] if isinstance(entry, tuple) else entry
            shown |= {str(name).split("__")[0]}
        return lookup.split("__")[0] in shown and super().lookup_allowed(lookup, value, request)

    # ------------------------------------------------------------------ refusals of services
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """The form; once more with the reason where a service refused it."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except AppError as error:
            _note(request, error)
            request.refusal = error.message  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal = getattr(request, "refusal", None)
        return form if refusal is None else _refused(form, refusal)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        try:
            return super().changelist_view(request, extra_context)
        except AppError as error:
            return self._back(request, error, request.get_full_path())

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        try:
            return super().delete_view(request, object_id, extra_context)
        except AppError as error:
            return self._back(request, error, self._address("change", object_id))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """All or none of the chosen rows."""
        with transaction.atomic():
            for row in queryset:
                self.delete_model(request, row)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What falls with the rows. The service that deletes decides, not each fallen row's page."""
        fallen, counts, _, protected = super().get_deleted_objects(objs, request)
        return fallen, counts, set(), protected

    def act_on_each(
        self, request: HttpRequest, rows: Iterable[Any], deed: Callable[[Any], object], done: str
    ) -> None:
        """Run `deed` for every row of an action; say how many were `done`, and why others were not."""
        num_done = 0
        for row in rows:
            try:
                deed(row)
            except AppError as error:
                _note(request, error)
                self.message_user(request, f"{row}: {error.message}", messages.ERROR)
            else:
                num_done += 1
        if num_done:
            self.message_user(request, f"{num_done} {done}.", messages.SUCCESS)

    # ------------------------------------------------------------------ history
    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return None

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        return None

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        return None

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit rows about this object."""
        about = {"target_type": self.opts.model_name, "target_id": object_id}
        return HttpResponseRedirect(f"{reverse('audit')}?{urlencode(about)}")

    def _address(self, page: str, *arguments: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=arguments, current_app=self.admin_site.name)

    def _back(self, request: HttpRequest, error: AppError, address: str) -> HttpResponse:
        _note(request, error)
        self.message_user(request, error.message, messages.ERROR)
        return HttpResponseRedirect(address)


class ReadOnlyModelAdmin(PortalModelAdmin):
    """Rows that follow from deeds elsewhere: looked at, never changed here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _note(request: HttpRequest, error: AppError) -> None:
    """A lack of rights is kept as the API keeps it, though the page shows a message instead of a 403."""
    if error.code is ErrorCode.PERMISSION_DENIED:
        report_denied(request, None, error.message)


def _refused(form: type[forms.ModelForm[Any]], reason: str) -> type[forms.ModelForm[Any]]:
    """The same form, never valid, that says why."""

    def clean(self: Any) -> Any:
        cleaned = form.clean(self)
        self.add_error(None, reason)
        return cleaned

    return type(f"Refused{form.__name__}", (form,), {"clean": clean})
