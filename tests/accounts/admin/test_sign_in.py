from __future__ import annotations

from axes.models import AccessAttempt
from django.test import Client
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice

from monitoring.models import AuditLog
from tests.accounts.admin.conftest import browser_of
from tests.conftest import Caller

LIST = "admin:axes_accessattempt_changelist"


def attempt_of(caller: Caller) -> AccessAttempt:
    return AccessAttempt.objects.create(
        username=caller.user.username, ip_address="192.0.2.1", failures_since_start=5
    )


def test_failed_sign_ins_are_forgotten_and_that_is_audited(boss: Client, member: Caller) -> None:
    attempt = attempt_of(member)
    chosen = {"action": "unlock", "_selected_action": [attempt.pk]}
    answer = boss.post(reverse(LIST), chosen, follow=True)
    assert "1 unlocked." in answer.content.decode()
    assert not AccessAttempt.objects.exists()
    row = AuditLog.objects.get(action="session.login_unlocked")
    assert (row.target_name, row.data["address"]) == ("the-user", "192.0.2.1")


def test_an_operator_unlocks_nobody(operator: Caller, member: Caller) -> None:
    attempt = attempt_of(member)
    browser = browser_of(operator)
    browser.post(reverse(LIST), {"action": "unlock", "_selected_action": [attempt.pk]})
    assert AccessAttempt.objects.exists()


def test_the_secret_of_an_authenticator_is_shown_to_nobody(boss: Client, member: Caller) -> None:
    device = TOTPDevice.objects.create(user=member.user, name="phone", key="ab" * 20)
    page = reverse("admin:otp_totp_totpdevice_change", args=[device.pk])
    shown = boss.get(page).content.decode()
    assert "phone" in shown
    assert device.key not in shown
    assert boss.post(page, {"key": "cd" * 20}).status_code == 403
    assert boss.get(f"/admin/otp_totp/totpdevice/{device.pk}/config/").status_code == 302


def test_the_second_factor_is_reset_from_the_list_of_users(boss: Client, member: Caller) -> None:
    TOTPDevice.objects.create(user=member.user, name="phone", key="ab" * 20, confirmed=True)
    chosen = {"action": "reset_factor", "_selected_action": [member.user.pk]}
    boss.post(reverse("admin:accounts_user_changelist"), chosen)
    assert not TOTPDevice.objects.exists()
    assert AuditLog.objects.get(action="user.second_factor_disabled").actor_name == "the-admin"
