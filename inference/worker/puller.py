"""Fetches the models whose rows ask for it, each in a process of its own.

A row in the state `downloading` is the wish, a lease in Redis says which worker follows it, and what is
fetched stays on the disk: when this worker dies, another one goes on. The program is `manage.py pull`,
so that a network library, a full disk or a converter out of memory costs the worker nothing.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings
from django.db import Error, connections

from inference import metrics, pull_progress
from inference.model_bell import Bell
from inference.model_files import ModelFilesError
from inference.models import Model
from inference.pull_progress import PullProgress
from inference.services.model_pulls import note_commit, note_pull_failed, note_pulled
from inference.states import ModelState
from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.lifeline import dies_with_parent
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.redis_client import SyncRedis
from monitoring.live_events import MODEL_EVENTS, publish

logger = logging.getLogger(__name__)

_INTERVAL = 1.0
#: Models that one worker fetches at once.
MAX_PULLS = 2
# Seconds between two words about the same stage.
_TELL_EVERY = 0.5
_FIELDS = tuple(PullProgress.__dataclass_fields__)

_DOWNLOADING: PreparedQuery[Model] = PreparedQuery(
    lambda: Model.objects.filter(state=ModelState.DOWNLOADING).order_by("updated_at")
)

Publish = Callable[[str, str, dict[str, Any]], None]


def pull_command(slug: str, source: str, commit: str) -> list[str]:
    """The program that fetches one model and reports in JSON lines."""
    manage = str(settings.BASE_DIR / "manage.py")
    options = ["--json", "--files-only", "--name", slug]
    if commit:
        options += ["--revision", commit]
    return [sys.executable, manage, "pull", source, *options]


@dataclass(slots=True)
class _Pull:
    """One that runs here. `is_unwanted` says that its end is nobody's business any more."""

    slug: str
    process: subprocess.Popen[str] | None = None
    is_unwanted: bool = False
    error: str = ""
    #: The last report, where it came too soon after another one to be told.
    untold: dict[str, Any] | None = None
    lines: list[str] = field(default_factory=list)


class Puller:
    """`holder` names this worker's life: a lease of an earlier one runs out."""

    def __init__(
        self,
        client: SyncRedis,
        worker: str,
        holder: str,
        command: Callable[[str, str, str], Sequence[str]] = pull_command,
        publish: Publish = publish,
    ) -> None:
        self._client = client
        self._worker = worker
        self._holder = holder
        self._command = command
        self._publish = publish
        self._bell = Bell(client)
        self._pulls: dict[str, _Pull] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="puller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """End what runs; its rows still ask for it, so the next worker goes on."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        for pull in self._running():
            _end(pull)
            self._give_up(pull.slug)

    def look(self) -> None:
        """Begin what is asked for, end what is not. Raises RedisError and django.db.Error."""
        wanted = {row.slug: row for row in _DOWNLOADING.rows()}
        for pull in self._running():
            if pull.slug not in wanted or not self._take(pull.slug):
                _end(pull)
            elif (report := pull.untold) is not None:  # nothing newer came: the transfer stands
                pull.untold = None
                self._tell_report(pull.slug, report)
        for row in wanted.values():
            if self._has_room(row.slug) and self._take(row.slug):
                self._begin(row)

    def _running(self) -> list[_Pull]:
        with self._lock:
            return list(self._pulls.values())

    def _has_room(self, slug: str) -> bool:
        with self._lock:
            return slug not in self._pulls and len(self._pulls) < MAX_PULLS

    def _take(self, slug: str) -> bool:
        return pull_progress.take(self._client, slug, self._holder)

    def _give_up(self, slug: str) -> None:
        try:
            pull_progress.give_up(self._client, slug, self._holder)
            pull_progress.forget(self._client, slug)
        except redis.RedisError as error:
            logger.warning("the lease of a pull runs out by itself: %s", error)

    def _begin(self, row: Model) -> None:
        pull = _Pull(row.slug)
        command = self._command(row.slug, row.source, row.revision)
        with self._lock:
            self._pulls[row.slug] = pull
        # The child dies with the thread that starts it, so this thread stays until its end.
        thread = threading.Thread(
            target=self._pull, args=(pull, command), name=f"pull-{row.slug}", daemon=True
        )
        thread.start()

    def _pull(self, pull: _Pull, command: Sequence[str]) -> None:
        logger.info("'%s' is being pulled", pull.slug)
        try:
            self._tell(pull.slug, PullProgress("starting", 0.0, worker=self._worker))
            status = self._follow(pull, command)
            if not pull.is_unwanted:
                self._conclude(pull, status)
        except (Error, redis.RedisError) as error:
            logger.warning("how the pull of '%s' went was not written: %s", pull.slug, error)
        except Exception:  # the row asks on, the next look begins again
            logger.exception("the pull of '%s' broke", pull.slug)
        finally:
            connections.close_all()
            with self._lock:
                self._pulls.pop(pull.slug, None)
            self._give_up(pull.slug)

    def _follow(self, pull: _Pull, command: Sequence[str]) -> int:
        """Run the program, pass on what it says; its exit status."""
        process = subprocess.Popen(
            dies_with_parent(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        pull.process = process
        if pull.is_unwanted or self._stop.is_set():
            _end(pull)
        said = _Throttle()
        for line in process.stdout or ():
            self._hear(pull, line.strip(), said)
        if process.stdout is not None:
            process.stdout.close()
        return process.wait()

    def _hear(self, pull: _Pull, line: str, said: _Throttle) -> None:
        try:
            report = json.loads(line)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            pull.lines = [*pull.lines[-5:], line]
        elif "commit" in report:
            note_commit(slug=pull.slug, commit=str(report["commit"]))
            connections.close_all()
        elif "error" in report:
            pull.error = str(report["error"])
        elif "stage" in report and not said.may(report["stage"]):
            pull.untold = report
        elif "stage" in report:
            pull.untold = None
            self._tell_report(pull.slug, report)

    def _tell_report(self, slug: str, report: dict[str, Any]) -> None:
        known = {name: report[name] for name in _FIELDS if name in report}
        try:
            self._tell(slug, PullProgress(**known, worker=self._worker))
        except redis.RedisError as error:
            logger.warning("progress of a pull was not told: %s", error)

    def _tell(self, slug: str, progress: PullProgress) -> None:
        pull_progress.tell(self._client, slug, progress)
        told = {name: getattr(progress, name) for name in _FIELDS}
        self._publish(MODEL_EVENTS, "model_pull_progress", {"model": slug, **told})

    def _conclude(self, pull: _Pull, status: int) -> None:
        reason = pull.error
        if status and not reason:
            logger.error("the pull of '%s' ended with %s: %s", pull.slug, status, pull.lines)
            reason = f"The program that fetches it ended with {status}: the worker's log says more."
        if status == 0:
            try:
                row = note_pulled(slug=pull.slug)
            except ModelFilesError as error:
                reason = str(error)
            else:
                metrics.PULLS.inc(outcome="pulled")
                if row is not None:
                    logger.info("'%s' is here", pull.slug)
                    data = {"model": pull.slug, "revision": row.revision, "sha256": row.sha256}
                    self._publish(MODEL_EVENTS, "model_pulled", data)
                return
        logger.warning("'%s' could not be pulled: %s", pull.slug, reason)
        metrics.PULLS.inc(outcome="failed")
        note_pull_failed(slug=pull.slug, reason=reason)
        data = {"model": pull.slug, "error": reason}
        self._publish(MODEL_EVENTS, "model_pull_failed", data)

    def _run(self) -> None:
        keep_connections()
        while not self._stop.is_set():
            try:
                self.look()
            except (Error, redis.RedisError) as error:
                logger.warning("what is to be pulled is not known: %s", error)
            except Exception:  # the thread must live on: without it nothing is pulled
                logger.exception("the pulls could not be looked after")
            finally:
                release_connections()
            try:
                self._bell.wait(_INTERVAL)
            except redis.RedisError:
                self._stop.wait(_INTERVAL)
        self._bell.close()


class _Throttle:
    """Lets a word through at each new stage and every so often within one."""

    def __init__(self) -> None:
        self._stage, self._at = "", 0.0

    def may(self, stage: str) -> bool:
        now = time.monotonic()
        if stage == self._stage and now - self._at < _TELL_EVERY:
            return False
        self._stage, self._at = stage, now
        return True


def _end(pull: _Pull) -> None:
    """The program and its children."""
    pull.is_unwanted = True
    if pull.process is not None and pull.process.poll() is None:
        try:
            os.killpg(pull.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
