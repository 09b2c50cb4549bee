"""Starts the process of one plugin: `python -I -S -B …/plugins_app/host FD`, with the channel's number.

Isolated mode knows no project folder, and the plugin shall know none either: only this package and
`plugins_app.base` can be imported, and nothing more of the portal once they are.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path


def _know_plugins_app() -> None:
    spec = ModuleSpec("plugins_app", None, is_package=True)
    spec.submodule_search_locations = [str(Path(__file__).resolve().parents[1])]
    sys.modules["plugins_app"] = module_from_spec(spec)


def _main() -> None:
    _know_plugins_app()
    from plugins_app.host.warden import run

    sys.modules["plugins_app"].__path__ = []
    run(int(sys.argv[1]))


if __name__ == "__main__":
    _main()
