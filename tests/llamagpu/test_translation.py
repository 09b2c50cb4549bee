"""Pages in the language that somebody has chosen; programs in English always."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.conf import settings
from django.test import Client

from llamagpu.http.navigation import registered
from monitoring.views.overview import CHARTS, RANGES
from tests.conftest import Caller

FOLDER = settings.BASE_DIR / "locale" / "de" / "LC_MESSAGES"
_WORD = re.compile(r"""\{% translate (?:"([^"]+)"|'([^']+)') %\}""")
_BLOCK = re.compile(r"\{% blocktranslate %\}(.*?)\{% endblocktranslate %\}", re.DOTALL)
# The same in both languages, or names.
UNITS = {"1 h", "6 h", "24 h"}


def marked() -> Iterator[str]:
    """What the templates, the menus and the lists of the overview have to say."""
    for template in settings.BASE_DIR.glob("templates/**/*.html"):
        text = template.read_text(encoding="utf-8")
        yield from (double or single for double, single in _WORD.findall(text))
        yield from _BLOCK.findall(text)
    yield from (item.label for item in registered())
    yield from (label for _, label in (*RANGES, *CHARTS) if label not in UNITS)


@pytest.fixture
def german(admin: Caller) -> Client:
    client = Client()
    client.force_login(admin.user)
    assert client.post("/language", {"language": "de", "next": "/keys"}).url == "/keys"
    return client


def catalog(name: str) -> dict[str, str]:
    read = read_po if name.endswith(".po") else read_mo
    with (FOLDER / name).open("rb") as words:
        return {message.id: message.string for message in read(words) if message.id}


def test_every_word_that_is_marked_has_its_german() -> None:
    known = {word for word, german in catalog("django.po").items() if german}
    assert sorted(set(marked()) - known) == []


def test_what_is_read_is_what_was_written() -> None:
    """`make messages` compiles it."""
    assert catalog("django.mo") == catalog("django.po")


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
