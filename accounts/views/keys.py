"""The page of one's own API keys: made and rotated (shown once), revoked."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables

from accounts.api_keys import KeyText
from accounts.forms.keys import NewKeyForm, RotateForm
from accounts.models import ApiKey, User
from accounts.services.api_keys import create_api_key, revoke_api_key, rotate_api_key
from accounts.views.caller import caller
from llamagpu.http.errors import AppError
from llamagpu.http.pages import PageView
from llamagpu.http.permissions import OWN_ACCOUNT, Action, Resource, Scope

#: How many keys that have ended are still shown, the newest first.
_NUM_ENDED_SHOWN = 20

unkept = method_decorator(never_cache, name="dispatch")


@unkept
class KeysPage(PageView):
    """The list and the form of a new key; a POST makes the key."""

    access = OWN_ACCOUNT

    def get(self, request: HttpRequest) -> HttpResponse:
        owner = caller(request)
        return keys_page(request, owner, NewKeyForm(owner))

    @sensitive_variables("made")
    def post(self, request: HttpRequest) -> HttpResponse:
        owner = caller(request)
        form = NewKeyForm(owner, request.POST)
        if not form.is_valid():
            return keys_page(request, owner, form)
        try:
            made = create_api_key(actor=owner, user=owner, **form.settings())
        except AppError as error:
            field = error.details[0]["field"] if error.details else ""
            form.refuse(field, error.message.removeprefix(f"{field}: "))
            return keys_page(request, owner, form)
        return keys_page(request, owner, NewKeyForm(owner), shown=made)


@unkept
class RotateKeyPage(PageView):
    """POST: a successor, shown once."""

    access = OWN_ACCOUNT

    @sensitive_variables("made")
    def post(self, request: HttpRequest, prefix: str) -> HttpResponse:
        owner, form = caller(request), RotateForm(request.POST)
        key = _own_key(owner, prefix)
        if not form.is_valid():
            messages.error(request, gettext("Say when the old key shall end."))
            return redirect("keys")
        try:
            made = rotate_api_key(actor=owner, key=key, grace=form.grace())
        except AppError as error:
            messages.error(request, error.message)
            return redirect("keys")
        return keys_page(request, owner, NewKeyForm(owner), shown=made)


@unkept
class RevokeKeyPage(PageView):
    """POST: ends a key at once."""

    access = OWN_ACCOUNT

    def post(self, request: HttpRequest, prefix: str) -> HttpResponse:
        owner = caller(request)
        key = revoke_api_key(actor=owner, key=_own_key(owner, prefix))
        words = gettext("The key “%(name)s” is revoked.") % {"name": key.name}
        messages.success(request, words)
        return redirect("keys")


def keys_page(
    request: HttpRequest,
    owner: User,
    form: NewKeyForm,
    *,
    shown: tuple[ApiKey, KeyText] | None = None,
) -> HttpResponse:
    """`shown` is a key that was made just now: the only time that its text is on a page."""
    own = ApiKey.objects.filter(user=owner).with_relatives()
    usable = own.in_state("usable")
    context: dict[str, Any] = {
        "form": form,
        "rotate_form": RotateForm(),
        "usable": usable,
        "ended": own.exclude(pk__in=usable.values("pk"))[:_NUM_ENDED_SHOWN],
    }
    if shown is not None:
        key, text = shown
        context |= {"new_key": key, "new_text": str(text), "curl": _curl(request, key, str(text))}
    return render(request, "accounts/keys.html", context)


def _own_key(owner: User, prefix: str) -> ApiKey:
    key = ApiKey.objects.filter(user=owner).named(prefix).with_relatives().first()
    if key is None:
        raise Http404
    return key


def _curl(request: HttpRequest, key: ApiKey, text: str) -> str:
    """A call that this very key may make."""
    base = request.build_absolute_uri("/api/")
    header = f'-H "Authorization: Bearer {text}"'
    if not (key.user.can(Resource.INFERENCE, Action.WRITE) and key.has_scope(Scope.INFER)):
        return f"curl {base}me \\\n  {header}"
    model = f'"model": "{key.allowed_models[0]}", ' if key.allowed_models else ""
    body = f'{{{model}"text": "What is the capital of France?", "temperature": 0}}'
    return f"curl {base}infer \\\n  {header} \\\n  -H \"Content-Type: application/json\" \\\n  -d '{body}'"
