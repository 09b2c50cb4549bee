"""The plugins of one worker, kept in step with what the database wants of them.

It looks every second and when the bell rings: starts what is new, ends what is gone, and puts a new
generation in the place of an old one. A request keeps those that it began with, and one
that cannot be loaded leaves its predecessor where it was; without one, a plugin that is fail_closed ends
the requests that it applies to. Without database or Redis all stays as it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import redis
from django.db import Error, connections

from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.redis_client import SyncRedis
from monitoring.configuration import current
from monitoring.metrics import REGISTRY
from plugins_app.bell import Bell
from plugins_app.breaker import Breaker, BreakerState
from plugins_app.lineup import Lease, Lineups
from plugins_app.link import Link
from plugins_app.metrics import BREAKER_OPEN, RESIDENT_BYTES
from plugins_app.pipeline import PluginsUnknownError
from plugins_app.places import Place, chosen_of, is_same_but_placed_otherwise, report_on
from plugins_app.presence import PluginReport, announce, withdraw
from plugins_app.recorder import Recorder
from plugins_app.runners.absent import AbsentRunner
from plugins_app.runners.base import PluginLoadError, Runner
from plugins_app.runners.factory import make_runner
from plugins_app.spec import FailurePolicy, PluginSpec
from plugins_app.wanted import wanted_generation, wanted_specs

logger = logging.getLogger(__name__)

_INTERVAL = 1.0
_CLOSE_TIMEOUT = 2.0
# For the first word of the database.
_PATIENCE = 10.0


class PluginRegistry:
    """`lease()` is for every request; all else happens in threads of its own."""

    def __init__(
        self,
        client: SyncRedis,
        worker: str,
        *,
        read: Callable[[], Sequence[PluginSpec]] = wanted_specs,
        read_generation: Callable[[], int] = wanted_generation,
    ) -> None:
        self._client = client
        self._worker = worker
        self._read, self._read_generation = read, read_generation
        self._seen: int | None = None
        self._bell = Bell(client)
        self._recorder = Recorder(worker)
        self._lineups = Lineups(self._end_unused)
        self._lock = threading.RLock()
        self._places: dict[str, Place] = {}
        self._started: set[Runner] = set()
        self._settled = threading.Condition(self._lock)
        self._is_known = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plugins", daemon=True)

    def start(self) -> None:
        REGISTRY.add_source(self._set_gauges)
        self._thread.start()

    def close(self, timeout: float) -> None:
        """For the end of the worker: no request is under way any more."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        REGISTRY.remove_source(self._set_gauges)
        with self._lock:
            self._places.clear()
            self._lineups.replace(())
            runners, self._started = self._started, set()
        enders = [threading.Thread(target=runner.close, args=(timeout,)) for runner in runners]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()
        self._say(lambda: withdraw(self._client, self._worker))

    def lease(self) -> Lease:
        """`with registry.lease() as links:` holds the plugins of one request, in their order.

        Before anything is known of what is wanted, it waits for that. Raises PluginsUnknownError where
        the database does not say it: one that no request may pass by could be among them.
        """
        if not self._is_known.is_set() and not self._is_known.wait(_PATIENCE):
            raise PluginsUnknownError
        return self._lineups.lease()

    def follow(self) -> None:
        """One look. Raises django.db.Error; what runs goes on."""
        generation = self._read_generation()
        if generation == self._seen:
            return
        specs = {spec.slug: spec for spec in self._read()}
        self._seen = generation
        with self._lock:
            for slug in self._places.keys() - specs.keys():
                del self._places[slug]
                self._recorder.event("plugin_unloaded", slug)
            # In the order in which they are wanted.
            self._places = {
                slug: self._places.get(slug) or Place(spec) for slug, spec in specs.items()
            }
            for slug, spec in specs.items():
                self._want(self._places[slug], spec)
            self._line_up()
        self._is_known.set()

    def wait_settled(self, timeout: float) -> bool:
        """Whether everything that is wanted was loaded or has failed within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        if not self._is_known.wait(timeout):
            return False
        with self._settled:
            return self._settled.wait_for(
                lambda: all(not place.is_loading for place in self._places.values()),
                max(0.0, deadline - time.monotonic()),
            )

    def reports(self) -> dict[str, PluginReport]:
        with self._lock:
            places = {slug: replace(place) for slug, place in self._places.items()}
        return {slug: report_on(place) for slug, place in places.items()}

    def _want(self, place: Place, spec: PluginSpec) -> None:
        place.spec = spec
        if place.link is None and spec.policy is FailurePolicy.FAIL_CLOSED:
            place.stand_in = self._stand_in(place)
        if place.is_loading or place.tried_generation == spec.generation:
            return
        link = place.link
        if link is not None and is_same_but_placed_otherwise(link.spec, spec):
            place.link = Link(spec, link.runner, link.breaker, self._recorder)
            place.tried_generation, place.error = spec.generation, ""
            return
        place.is_loading = True
        threading.Thread(
            target=self._load, args=(spec,), name=f"load-{spec.slug}", daemon=True
        ).start()

    def _stand_in(self, place: Place) -> Link:
        if place.stand_in is not None and place.stand_in.spec == place.spec:
            return place.stand_in
        runner = AbsentRunner(place.spec, lambda: place.error)
        return Link(place.spec, runner, Breaker(), self._recorder)

    def _load(self, spec: PluginSpec) -> None:
        slug, error = spec.slug, ""
        runner = make_runner(
            spec,
            walls_required=current().plugin_walls == "required",
            on_event=lambda event, words: self._recorder.runner_event(slug, event, words),
        )
        try:
            runner.start()
        except PluginLoadError as failure:
            error = str(failure)
            logger.error("the plugin '%s' cannot be loaded: %s", slug, error)
            self._recorder.event("plugin_load_failed", slug, message=error)
        except Exception:  # a defect of ours must not leave the plugin "loading" for ever
            error = "it cannot be loaded; the log says why"
            logger.exception("the plugin '%s' cannot be loaded", slug)
        finally:
            connections.close_all()
        self._arrive(spec, runner, error)
        self._say(self._announce)

    def _arrive(self, spec: PluginSpec, runner: Runner, error: str) -> None:
        with self._settled:
            place = self._places.get(spec.slug)
            if not error:
                self._started.add(runner)
            if place is not None:
                place.is_loading = False
                place.tried_generation, place.error = spec.generation, error
                if not error:
                    place.link = Link(spec, runner, Breaker(), self._recorder)
                    logger.info("the plugin '%s' %s is loaded", spec.slug, spec.version)
                    self._recorder.event("plugin_loaded", spec.slug, version=spec.version)
                self._want(place, place.spec)  # it may have changed meanwhile
                self._line_up()
            self._settled.notify_all()
        self._end_unused()

    def _line_up(self) -> None:
        chosen = [chosen_of(place) for place in self._places.values()]
        links = tuple(link for link in chosen if link is not None)
        if links != self._lineups.links:
            self._lineups.replace(links)
            self._end_unused()

    def _end_unused(self) -> None:
        with self._lock:
            unused = self._started - self._lineups.runners_in_use()
            self._started -= unused
        for runner in unused:
            threading.Thread(
                target=runner.close, args=(_CLOSE_TIMEOUT,), name="unload", daemon=True
            ).start()

    def _announce(self) -> None:
        announce(self._client, self._worker, self.reports())

    def _set_gauges(self) -> None:
        RESIDENT_BYTES.clear()
        BREAKER_OPEN.clear()
        for slug, report in self.reports().items():
            if report.resident_bytes is not None:
                RESIDENT_BYTES.set(report.resident_bytes, plugin=slug)
            BREAKER_OPEN.set(report.breaker is not BreakerState.CLOSED, plugin=slug)

    def _say(self, words: Callable[[], None]) -> None:
        try:
            words()
        except redis.RedisError as error:
            logger.warning("nobody was told of the plugins: %s", error)

    def _look(self) -> None:
        try:
            self.follow()
        except Error as error:
            logger.warning("what plugins are wanted is not known: %s", error)
        except Exception:  # the thread must live on: without it nothing is loaded or unloaded
            logger.exception("the plugins could not be brought in step")
        finally:
            release_connections()
        self._end_unused()
        self._say(self._announce)
        self._recorder.publish()

    def _run(self) -> None:
        keep_connections()
        while not self._stop.is_set():
            self._look()
            try:
                self._bell.wait(_INTERVAL)
            except redis.RedisError as error:
                logger.warning("the bell of the plugins is not heard: %s", error)
                self._stop.wait(_INTERVAL)
        self._bell.close()
