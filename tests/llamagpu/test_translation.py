"""Pages in the language that somebody has chosen; programs in English always."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.test import Client

from accounts.limit_subjects import LIMIT_NAMES
from accounts.matrix import need_of
from accounts.views.limits import words_of
from inference.states import JobState, ModelState
from inference.views.playground_parameters import parameters
from llamagpu.http.endpoints import endpoints
from llamagpu.http.navigation import registered
from llamagpu.http.permissions import Resource
from llamagpu.lib.setting_fields import SETTING_FIELDS
from llamagpu.templatetags.portal import limit_label
from monitoring.alerts.words import AlertState, ChannelKind, DeliveryState, Occasion, Severity
from monitoring.audit_actions import Outcome
from monitoring.configuration_listing import FIXED_AT_START, FIXED_GROUP
from monitoring.models import AlertRule
from plugins_app.base import PluginCategory
from plugins_app.breaker import BreakerState
from plugins_app.spec import Tier
from plugins_app.states import PluginState
from tests.conftest import Caller
from tests.llamagpu import marked_words

FOLDER = settings.BASE_DIR / "locale" / "de" / "LC_MESSAGES"
SCRIPT = settings.BASE_DIR / "static" / "llamagpu" / "words" / "de.js"
# Names, units and examples: the same in every language.
SAME = {
    ("*", "LLaMA GPU"), ("*", "· LLaMA GPU"), ("*", "UTC"), ("*", "&middot;"), ("*", "&rsaquo;"),
    ("roles.html", "RW"), ("audit_entry.html", "lg_"),
    ("alerts_channel_dialog.html", "ada@example.org, bob@example.org"),
    ("alerts_channel_dialog.html", "https://host/path"),
    ("alerts_rule_dialog.html", "node=gpu-1, gpu=0"), ("alerts_silence_dialog.html", "node=gpu-1"),
    ("api_docs.html", "API"), ("api_docs.html", "API · LLaMA GPU"), ("api_docs.html", "OpenAPI 3.1"),
    ("api_docs_group.html", "API:"), ("api_docs_group.html", "· API · LLaMA GPU"),
    ("markdown.js", "noopener noreferrer nofollow"), ("playground.js", "Enter"),
    ("playground.js", "Hello!"), ("logs.js", "Traceback"), ("turns.js", "turn answers"),
}  # fmt: skip
#: Words that code knows and templates show: states, kinds, what settings are for.
LISTS = (
    JobState,
    ModelState,
    PluginState,
    Tier,
    PluginCategory,
    BreakerState,
    Severity,
    AlertState,
)
MORE_LISTS = (ChannelKind, DeliveryState, Occasion, Outcome)


#: What stands in rows and in what processes tell: known here, found by no test.
DATA = {
    "Full access, plugin management, configuration",
    "Inference operations, monitoring, basic configuration",
    "Inference, read-only monitoring",
    "Limited read-only access",
    "starting", "waiting for a worker", "resolve", "download", "verify", "unpack", "convert",
    "weights", "cache", "kernels", "reference", "write", "pack", "self-test",
    "asking the upstream", "usable", "expired", "revoked", "user", "role", "key", "model",
    "configuration", "assistant", "system",
    # What a job's timeline tells.
    "is streamed", "priority", "deadline at", "time limit", "reserved tokens", "limits", "number",
    "worker", "cause", "prompt tokens", "cached tokens", "ttft", "completion tokens",
    "tokens per second", "state", "error", "policy", "is removed",
    "no monitor evaluates the rules", "the database does not answer: nothing is evaluated",
}  # fmt: skip
_PLACE = re.compile(r"%\(\w+\)s|\{\w+\}|</?[a-z]+")


def words_of_lists() -> Iterator[str]:
    for words in (*LISTS, *MORE_LISTS):
        yield from (word.value for word in words)
    for resource in Resource:
        yield resource.value.replace("_", " ")
        yield resource.value.replace("_", " ").capitalize()
    yield from {need_of(endpoint.rule) for endpoint in endpoints()}
    yield from (item.label for item in registered())
    yield from (word for number in parameters(1) for word in (number.label, number.help))
    yield from (words_of(name) for name in LIMIT_NAMES)
    yield from (limit_label(name) for name in ("max_model_len", "max_running", "max_new_tokens"))
    yield from (word for field in SETTING_FIELDS for word in (field.group, field.description))
    yield from (field.description for field in FIXED_AT_START.values())
    yield FIXED_GROUP
    rules = AlertRule.objects.filter(is_builtin=True)
    yield from (word for rule in rules for word in (rule.name, rule.summary))


def marked() -> set[marked_words.Word]:
    return {
        *marked_words.marked_in_templates(),
        *marked_words.marked_in_code(),
        *marked_words.marked_in_scripts(),
        *words_of_lists(),
    }


@pytest.fixture
def german(admin: Caller) -> Client:
    client = Client()
    client.force_login(admin.user)
    assert client.post("/language", {"language": "de", "next": "/keys"}).url == "/keys"
    return client


def _both(words: Any) -> tuple[str, ...]:
    return words if isinstance(words, tuple) else (words,)


def _plain(words: Any) -> Any:
    """Singular and plural, which the two readers give in a list or a tuple."""
    return words if isinstance(words, str) else tuple(words)


def catalog(name: str) -> dict[Any, Any]:
    read = read_po if name.endswith(".po") else read_mo
    with (FOLDER / name).open("rb") as words:
        return {_plain(message.id): _plain(message.string) for message in read(words) if message.id}


@pytest.mark.django_db
def test_every_word_that_is_marked_has_its_german() -> None:
    known = {word for word, german in catalog("django.po").items() if all(german)}
    assert sorted(map(str, marked() - known)) == []


def test_every_word_of_the_pages_is_marked() -> None:
    found = {
        *marked_words.unmarked_in_templates(),
        *marked_words.unmarked_in_scripts(),
        *marked_words.unmarked_in_code(),
    }
    unmarked = {
        (name, words)
        for name, words in found
        if ("*", words) not in SAME and (name.rsplit("/")[-1], words) not in SAME
    }
    # Snippets are code that people copy.
    assert sorted(word for word in unmarked if word[0] != "snippets.js") == []


@pytest.mark.parametrize(
    ("find", "text"),
    [
        (marked_words.unmarked_in_templates, "<p>{{ name }} waits</p>"),
        (marked_words.unmarked_in_templates, '<a aria-label="Close {{ name }}"></a>'),
        (marked_words.unmarked_in_scripts, 'toast("Saved.", "good");'),
        (marked_words.unmarked_in_scripts, "box.textContent = `${name} is ready`;"),
    ],
)
def test_a_word_that_is_not_marked_is_found(
    find: Callable[[], Iterator[tuple[str, str]]], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for files in ("templates", "scripts"):
        monkeypatch.setattr(marked_words, files, lambda: [("one", text)])
    assert len(list(find())) == 1


@pytest.mark.django_db
def test_nothing_is_translated_that_nobody_says() -> None:
    assert sorted(map(str, set(catalog("django.po")) - marked() - DATA)) == []


def test_a_translation_keeps_the_places_of_values() -> None:
    for words, german in catalog("django.po").items():
        for one, other in zip(_both(words), _both(german), strict=True):
            assert sorted(_PLACE.findall(one)) == sorted(_PLACE.findall(other)), other


def test_what_is_read_is_what_was_written() -> None:
    """`make messages` compiles it."""
    assert catalog("django.mo") == catalog("django.po")
    words = json.loads(SCRIPT.read_text(encoding="utf-8").partition("=")[2].rstrip("\n;"))
    german = catalog("django.po")
    assert words == {word: german[word] for word in marked_words.marked_in_scripts()}


def test_pages_are_in_the_language_that_was_chosen(german: Client) -> None:
    page = german.get("/keys").content.decode()
    assert '<html lang="de">' in page
    assert "API-Schlüssel" in page
    assert "Abmelden" in page
    german.post("/language", {"language": "en"})
    assert "Sign out" in german.get("/keys").content.decode()


def test_numbers_in_fields_stay_numbers(german: Client, model: object) -> None:
    page = german.get("/playground").content.decode()
    assert re.search(r'(?:min|max|step|value)="\d+\.\d+"', page)
    assert not re.search(r'(?:min|max|step|value)="\d+,\d+"', page)


def test_programs_are_answered_in_english(german: Client) -> None:
    answer = german.get("/api/keys?limit=many")
    assert answer.status_code == 400
    assert "whole number" in answer.json()["error"]["message"].lower()


@pytest.mark.parametrize(
    ("asked", "back"),
    [("//evil.example/x", "/"), ("https://evil.example", "/"), ("/jobs?q=1", "/jobs?q=1")],
)
def test_one_goes_back_within_the_portal_alone(asked: str, back: str) -> None:
    assert Client().post("/language", {"language": "de", "next": asked}).url == back


def test_a_language_that_is_not_there_changes_nothing() -> None:
    assert "django_language" not in Client().post("/language", {"language": "xx"}).cookies
