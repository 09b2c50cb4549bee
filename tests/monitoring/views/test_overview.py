"""The first page: the way in for strangers, figures for who may see them."""

from __future__ import annotations

from django.test import Client

from accounts.models.roles import RolePermission
from monitoring.alerts.words import AlertState
from tests.conftest import Caller
from tests.monitoring.views.test_alerts import alert


def test_a_stranger_is_shown_the_way_in(db: None) -> None:
    page = Client().get("/").content.decode()
    assert 'href="/login/"' in page
    assert "initial_admin_password" in page
    assert "key create --user admin" in page


def signed_in(caller: Caller) -> Client:
    client = Client()
    client.force_login(caller.user)
    return client


def test_whoever_may_see_figures_gets_the_overview(member: Caller, guest: Caller) -> None:
    for caller in (member, guest):
        page = signed_in(caller).get("/").content.decode()
        assert 'data-figure="requests_per_second"' in page
        assert page.count("<canvas") == 6
        assert "initial_admin_password" not in page


def test_who_may_see_none_is_led_to_the_keys(member: Caller) -> None:
    RolePermission.objects.filter(role=member.user.role, resource="monitoring").update(
        can_read=False, can_write=False
    )
    page = signed_in(member).get("/").content.decode()
    assert "<canvas" not in page
    assert "Your API keys" in page


def test_the_health_alone_says_what_is_missing(member: Caller, redis_client: object) -> None:
    page = signed_in(member).get("/?part=health").content.decode()
    assert "<html" not in page
    assert "not ready" in page
    assert "worker: no worker is running" in page


def test_the_alerts_that_fire_stand_in_the_page_and_in_a_part_of_it(guest: Caller) -> None:
    alert(summary="The <b>disk</b> is full", severity="critical")
    alert(summary="It was hot", state=AlertState.RESOLVED)
    for path in ("/", "/?part=alerts"):
        page = signed_in(guest).get(path).content.decode()
        assert page.count("The &lt;b&gt;disk&lt;/b&gt; is full") == 1
        assert "It was hot" not in page
    assert "<html" not in page


def test_who_may_not_see_alerts_gets_none(db: None) -> None:
    alert(summary="The disk is full")
    assert Client().get("/?part=alerts").content.decode().strip() == ""


def test_the_first_steps_are_drawn_until_their_cookie_comes(member: Caller) -> None:
    client = signed_in(member)
    cookie = f"llamagpu-first-steps-{member.user.pk}"
    assert f'data-kept="{cookie}"' in client.get("/").content.decode()
    client.cookies[cookie] = "done"
    assert "first-steps-title" not in client.get("/").content.decode()


def test_who_may_not_infer_sees_no_first_steps(guest: Caller) -> None:
    assert "first-steps-title" not in signed_in(guest).get("/").content.decode()
