"""The plugin's own process, behind its walls: load it, then answer one call after another.

One thread: the calls of several requests wait for each other here, and a call that takes too long is
ended from outside, with this process.
"""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plugins_app.base import CONTEXT_OF, BasePlugin, Context, Hook, Message, PluginRefusal
from plugins_app.host.frames import Frames
from plugins_app.host.limits import Limits
from plugins_app.host.loading import LoadedPlugin, LoadError, told
from plugins_app.host.sources import sources_in
from plugins_app.host.walls import ESSENTIAL, raise_walls

_MAX_REQUEST_BYTES = 64 * 1024 * 1024


class Service:
    """Speaks JSON: `load` first, then `call` until `close` or the end."""

    def __init__(self, channel: socket.socket, *, has_namespaces: bool) -> None:
        self._frames = Frames(channel)
        self._has_namespaces = has_namespaces
        self._max_output_bytes = 0

    def run(self) -> None:
        order = self._next()
        if order is None:
            return
        try:
            loaded = self._load(order)
        except LoadError as error:
            self._answer({"failed": str(error)})
            return
        self._answer({"loaded": True})
        while (order := self._next()) is not None and "close" not in order:
            self._frames.send(self._call(loaded.plugin, order))
        self._clean_up(loaded.plugin)

    def _load(self, order: Mapping[str, Any]) -> LoadedPlugin:
        path = Path(order["path"])
        self._max_output_bytes = order["max_output_bytes"]
        sys.path.extend(order["packages"])
        walls = raise_walls(
            path,
            Path(order["folder"]),
            Limits(**order["limits"]),
            [Path(folder) for folder in order["library"]],
            has_namespaces=self._has_namespaces,
        )
        # Before a line of it runs that could say something else.
        self._answer({"walls": walls})
        missing = ESSENTIAL.difference(walls)
        if missing and order["walls_required"]:
            names = " and ".join(sorted(missing))
            raise LoadError(f"it cannot be kept from {names} on this system")
        try:
            return LoadedPlugin(path, order["slug"], order["config"], sources_in(order))
        except LoadError as error:
            if error.__cause__ is not None:
                _print(error.__cause__)
            raise

    def _call(self, plugin: BasePlugin, order: Mapping[str, Any]) -> bytes:
        answer: dict[str, Any] = {"id": order["id"]}
        context = _context(Hook(order["hook"]), order["context"])
        try:
            outcome = plugin.execute(context)
            answer["result"] = _shallow(outcome, type(context))
            body = _encode(answer)
        except PluginRefusal as refusal:
            return _encode({"id": order["id"], "refused": told(refusal).partition(": ")[2]})
        except _Garbage as error:
            return _encode({"id": order["id"], "garbage": str(error)})
        except BaseException as error:  # noqa: BLE001  SystemExit, too, ends only this call
            _print(error)
            return _encode({"id": order["id"], "raised": told(error)})
        if len(body) > self._max_output_bytes:
            return _encode({"id": order["id"], "too_large": len(body)})
        return body

    def _clean_up(self, plugin: BasePlugin) -> None:
        try:
            plugin.cleanup()
        except BaseException as error:  # noqa: BLE001  it ends here in any case
            _print(error)

    def _next(self) -> dict[str, Any] | None:
        payload = self._frames.receive(_MAX_REQUEST_BYTES)
        return None if payload is None else json.loads(payload)

    def _answer(self, words: Mapping[str, Any]) -> None:
        self._frames.send(_encode(words))


class _Garbage(Exception):
    """What came back is no context."""


def serve(channel: socket.socket, *, has_namespaces: bool) -> None:
    """Runs until the channel ends. Never comes back."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        Service(channel, has_namespaces=has_namespaces).run()
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001  the last word before the end
        _print(error)
    # Not by the ordinary way: threads of the plugin could hold it up.
    os._exit(0)


def _context(hook: Hook, values: dict[str, Any]) -> Context:
    if values.get("messages") is not None:
        values["messages"] = tuple(Message(**message) for message in values["messages"])
    for name in ("stop", "given", "plugins"):
        if name in values:
            values[name] = tuple(values[name])
    return CONTEXT_OF[hook](**values)


def _shallow(outcome: Any, cls: type) -> dict[str, Any]:
    if type(outcome) is not cls:
        raise _Garbage(f"execute() returned a {type(outcome).__name__}, not the {cls.__name__}")
    return {field.name: getattr(outcome, field.name) for field in fields(cls)}


def _encode(words: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(words, ensure_ascii=False, allow_nan=False, default=_plain)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _Garbage(f"execute() returned what is no JSON: {told(error)}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return {"role": value.role, "content": value.content}
    if isinstance(value, MappingProxyType):
        return dict(value)
    if is_dataclass(value):
        raise TypeError(f"{type(value).__name__} has no place in a context")
    raise TypeError(f"{type(value).__name__} is no JSON")


def _print(error: BaseException) -> None:
    try:
        traceback.print_tb(error.__traceback__, limit=-5)
        sys.stderr.write(f"{told(error)}\n")
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001, S110  its own words failed it
        pass
