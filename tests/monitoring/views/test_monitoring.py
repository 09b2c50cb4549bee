"""The page of monitoring: what runs, and what does not, in words."""

from __future__ import annotations

import socket
from typing import Any

from django.test import Client

from accounts.models.roles import RolePermission
from monitoring.collectors.node import NodeReader
from monitoring.monitor.presence import MonitorReport, announce
from tests.conftest import Caller


def read(caller: Caller, path: str = "/monitoring") -> tuple[int, str]:
    client = Client()
    client.force_login(caller.user)
    response = client.get(path)
    return response.status_code, response.content.decode()


def test_without_monitor_and_worker_it_says_so(member: Caller, redis_client: Any) -> None:
    status, text = read(member)
    assert status == 200
    assert "No monitor is running" in text
    assert "No worker is running" in text


def test_a_machine_is_shown_as_its_monitor_read_it(
    member: Caller, redis_client: Any, tmp_path: Any
) -> None:
    reading = NodeReader((tmp_path,)).read()
    node = socket.gethostname()[:64]
    report = MonitorReport(node, "1", 4711, 0.0, 1.0, True, 0, reading)
    announce(redis_client, report)
    _, text = read(member)
    assert f"Node {node}" in text
    assert f"of {reading.cpu.count} cores" in text
    assert "No GPU on this node" in text or "°C" in text


def test_the_tables_alone_are_for_the_script(guest: Caller, redis_client: Any) -> None:
    status, text = read(guest, "/monitoring?part=now")
    assert status == 200
    assert "<html" not in text
    assert "database" in text


def test_who_may_read_no_figures_is_refused(member: Caller, redis_client: Any) -> None:
    RolePermission.objects.filter(role=member.user.role, resource="monitoring").update(
        can_read=False, can_write=False
    )
    assert read(member)[0] == 403
