"""`manage.py serve` from the first check to the last child's end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from llamagpu.lib.config import LlamaConfig, redis_socket
from llamagpu.supervisor import preparation
from llamagpu.supervisor.console import Console
from llamagpu.supervisor.data_lock import DataLock
from llamagpu.supervisor.readiness import ReadinessProbe
from llamagpu.supervisor.stack import check_address_is_free, monitor_spec, web_spec, worker_spec
from llamagpu.supervisor.supervisor import Supervisor
from llamagpu.supervisor.valkey import EmbeddedValkey, check_external, find_server
from llamagpu.supervisor.welcome import base_url, welcome

_VALKEY_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line adds to the settings."""

    host: str
    port: int
    may_pull: bool
    start_timeout: float


def serve(options: ServeOptions, console: Console, announce: Callable[[str], None]) -> None:
    """Run the whole stack until a stop is asked for. `announce` gets the text for people.

    Raises StartError when it cannot run, StopRequested when it was stopped before it was ready.
    """
    config: LlamaConfig = settings.LLAMA
    base_dir: Path = settings.BASE_DIR
    check_address_is_free(options.host, options.port)
    with DataLock(config.data_dir), Supervisor(console) as supervisor:
        with supervisor.setting_up():
            preparation.check_backend()
            preparation.check_database()
        _start_redis(config, supervisor)
        with supervisor.setting_up():
            preparation.migrate(console)
            admin = preparation.ensure_admin()
            preparation.ensure_models(may_pull=options.may_pull)
            preparation.release_database()
        supervisor.start(worker_spec(config, base_dir=base_dir, port=options.port))
        supervisor.start(monitor_spec(base_dir=base_dir))
        supervisor.start(web_spec(config, base_dir=base_dir, host=options.host, port=options.port))
        probe = ReadinessProbe(options.host, options.port, settings.ALLOWED_HOSTS)
        supervisor.wait_until(probe.obstacle, what="the service", timeout=options.start_timeout)
        announce(welcome(base_url(config, options.host, options.port), admin, base_dir))
        supervisor.run()


def _start_redis(config: LlamaConfig, supervisor: Supervisor) -> None:
    """Valkey as a child, unless REDIS_URL names a server."""
    if not config.embedded_redis:
        check_external(config.redis_url)
        return
    valkey = EmbeddedValkey(config.data_dir, redis_socket(config.data_dir), find_server())
    valkey.prepare()
    supervisor.start(valkey.spec)
    supervisor.wait_until(valkey.obstacle, what="Valkey", timeout=_VALKEY_TIMEOUT)
