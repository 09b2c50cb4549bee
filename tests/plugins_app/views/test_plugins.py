"""Pages of plugins: everybody who may read them sees the list, who may write them can act."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from plugins_app.services.configuration import configure_plugin
from plugins_app.services.scanning import scan_plugins
from tests.conftest import Caller

EVIL = "<img src=x onerror=alert(1)>"


def read(caller: Caller, path: str) -> tuple[int, str]:
    client = Client()
    client.force_login(caller.user)
    response = client.get(path)
    return response.status_code, response.content.decode()


@pytest.mark.parametrize("role", ["member", "guest"])
def test_readers_see_the_list_without_buttons(
    role: str, request: pytest.FixtureRequest, loud: Any
) -> None:
    status, text = read(request.getfixturevalue(role), "/plugins")
    assert status == 200
    assert 'data-plugin="loud"' in text
    assert "data-action=" not in text
    assert 'data-sortable="false"' in text


def test_an_operator_acts_but_only_an_admin_uploads(
    operator: Caller, admin: Caller, loud: Any
) -> None:
    _, text = read(operator, "/plugins")
    assert 'data-action="approve"' in text
    assert f'data-sha256="{loud.sha256}"' in text
    assert 'id="upload-form"' not in text
    assert 'id="upload-form"' in read(admin, "/plugins")[1]


def test_filters_narrow_the_list_and_then_nothing_is_moved(operator: Caller, loud: Any) -> None:
    assert 'data-plugin="loud"' in read(operator, "/plugins?tier=user")[1]
    _, text = read(operator, "/plugins?tier=core")
    assert 'data-plugin="loud"' not in text
    assert "plugin-handle" not in text
    assert 'data-plugin="loud"' in read(operator, "/plugins?tier=nonsense&category=")[1]


def test_the_list_alone_is_for_the_script(member: Caller, loud: Any) -> None:
    _, text = read(member, "/plugins?part=list")
    assert 'data-plugin="loud"' in text
    assert "<html" not in text


def test_one_plugins_page_shows_settings_to_who_may_write_them(
    member: Caller, operator: Caller, approved: Any
) -> None:
    configure_plugin(
        actor=operator.user, plugin=approved, config={"suffix": "?", "token": "hush-hush"}
    )
    _, text = read(operator, "/plugins/loud")
    assert 'id="config-form"' in text
    assert 'data-rollback="1"' in text
    assert "Set these again" in text  # what stands beside it: those from after the change
    assert "hush-hush" not in text
    status, text = read(member, "/plugins/loud")
    assert status == 200
    for hidden in ('id="config-form"', "data-rollback", 'id="try-form"', str(approved.path)):
        assert hidden not in text


def test_a_plugins_words_are_shown_and_not_obeyed(
    member: Caller, operator: Caller, write_plugin: Any, redis_client: Any
) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "default": f"</script>{EVIL}"}},
    }
    write_plugin("evil", name=EVIL, schema=schema)
    scan_plugins()
    for caller in (member, operator):
        for path in ("/plugins", "/plugins/evil"):
            _, text = read(caller, path)
            assert "&lt;img src=x onerror=alert(1)&gt;" in text
            assert EVIL not in text
            assert f"</script>{EVIL}" not in text


def test_what_is_not_there_is_not_found(member: Caller, redis_client: Any) -> None:
    assert read(member, "/plugins/nobody")[0] == 404
