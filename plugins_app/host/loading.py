"""Makes a plugin out of its source: import, find the class, make it, let it initialize.

Only the sources are run that were read when their digest was compared, also by an import years later:
what lies on the disk by then, compiled files among it, is no part of what was approved. Standard library
only; both kinds of runner load with it.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from plugins_app.base import BasePlugin

_numbers = itertools.count(1)
_INIT = "__init__.py"


class LoadError(Exception):
    """The plugin cannot be made; the message is for operators."""


class _SourceLoader(SourceFileLoader):
    def __init__(self, fullname: str, path: str, source: bytes) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        code = self.source_to_code(self._source, self.path)
        assert isinstance(code, CodeType)  # noqa: S101  the type's own promise
        return code


class _Modules:
    """Finds the module of one plugin, and those inside its package, among the sources."""

    def __init__(self, root: str, path: Path, sources: Mapping[str, bytes]) -> None:
        self._root, self._path, self._sources = root, path, sources
        self._is_file = list(sources) == [path.name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not f"{fullname}.".startswith(f"{self._root}."):
            return None
        if self._is_file:
            return self._spec(fullname, self._path.name) if fullname == self._root else None
        place = "/".join(fullname.split(".")[1:])
        package, file = f"{place}/{_INIT}".removeprefix("/"), f"{place}.py"
        if package in self._sources:
            return self._spec(fullname, package)
        if file in self._sources:
            return self._spec(fullname, file)
        if place and any(name.startswith(f"{place}/") for name in self._sources):
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(self._path / place)]
            return spec
        return None

    def _spec(self, fullname: str, name: str) -> ModuleSpec | None:
        file = self._path if self._is_file else self._path / name
        return spec_from_file_location(
            fullname,
            file,
            loader=_SourceLoader(fullname, str(file), self._sources[name]),
            submodule_search_locations=[str(file.parent)] if file.name == _INIT else None,
        )


class LoadedPlugin:
    """A plugin that has initialized, with the modules that are its own."""

    def __init__(
        self, path: Path, slug: str, config: Mapping[str, Any], sources: Mapping[str, bytes]
    ) -> None:
        """Raises LoadError; nothing of it is left then."""
        self._name = f"llamagpu_plugin_{slug}_{next(_numbers)}"
        self._finder = _Modules(self._name, path, sources)
        try:
            self.plugin = self._make(config)
        except LoadError:
            self.forget()
            raise
        except BaseException as error:
            self.forget()
            if isinstance(error, KeyboardInterrupt):
                raise
            raise LoadError(f"it raised {told(error)}") from error

    def forget(self) -> None:
        """Take its modules out of the interpreter."""
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        for name in [n for n in sys.modules if f"{n}.".startswith(f"{self._name}.")]:
            del sys.modules[name]

    def _make(self, config: Mapping[str, Any]) -> BasePlugin:
        cls = self._find_class(self._import())
        plugin = cls(dict(config))
        if plugin.initialize() is not True:
            raise LoadError("initialize() did not return True")
        return plugin

    def _import(self) -> ModuleType:
        spec = self._finder.find_spec(self._name, None)
        if spec is None or spec.loader is None:
            raise LoadError("it is no Python file and no package")
        module = module_from_spec(spec)
        sys.modules[self._name] = module
        sys.meta_path.insert(0, self._finder)
        spec.loader.exec_module(module)
        return module

    def _find_class(self, module: ModuleType) -> type[BasePlugin]:
        found = {
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, BasePlugin)
            and not inspect.isabstract(value)
            and f"{value.__module__}.".startswith(f"{self._name}.")
        }
        if len(found) != 1:
            raise LoadError(f"it defines {len(found)} plugins that can be made, not one")
        return found.pop()


def told(error: BaseException) -> str:
    """Kind and message of a foreign exception, in one bounded line."""
    try:
        words = str(error)[:2000]
    except Exception:  # noqa: BLE001  its __str__ is foreign, too
        words = "(it cannot be told)"
    line = " ".join(f"{type(error).__name__}: {words}".split())
    return line.encode("utf-8", "replace").decode()[:500]
