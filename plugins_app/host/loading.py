"""Makes a plugin out of its source: import, find the class, make it, let it initialize.

Only source is run, as it lies there: a `__pycache__` beside it is no part of what was approved.
Standard library only; both kinds of runner load with it.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
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
    def get_code(self, fullname: str) -> CodeType:
        code = self.source_to_code(self.get_data(self.path), self.path)
        assert isinstance(code, CodeType)  # noqa: S101  the type's own promise
        return code


class _Submodules:
    """Finds the modules inside one plugin's package."""

    def __init__(self, package: str) -> None:
        self._prefix = f"{package}."

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(self._prefix):
            return None
        for folder in path or ():
            spec = FileFinder(folder, (_SourceLoader, [".py"])).find_spec(fullname)
            if spec is not None:
                return spec
        return None


class LoadedPlugin:
    """A plugin that has initialized, with the modules that are its own."""

    def __init__(self, path: Path, slug: str, config: Mapping[str, Any]) -> None:
        """Raises LoadError; nothing of it is left then."""
        self._name = f"llamagpu_plugin_{slug}_{next(_numbers)}"
        self._finder = _Submodules(self._name)
        try:
            self.plugin = self._make(path, config)
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

    def _make(self, path: Path, config: Mapping[str, Any]) -> BasePlugin:
        cls = self._find_class(self._import(path))
        plugin = cls(dict(config))
        if plugin.initialize() is not True:
            raise LoadError("initialize() did not return True")
        return plugin

    def _import(self, path: Path) -> ModuleType:
        is_package = path.is_dir()
        file = path / _INIT if is_package else path
        spec = spec_from_file_location(
            self._name,
            file,
            loader=_SourceLoader(self._name, str(file)),
            submodule_search_locations=[str(path)] if is_package else None,
        )
        if spec is None or spec.loader is None:
            raise LoadError(f"{file.name} is no Python file")
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
