"""The scripts of a page, with all that they import asked for at once.

A browser learns what a module imports when it has the module: each level would be a way there and back.
"""

from __future__ import annotations

import functools
import posixpath
import re
from pathlib import Path

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

_IMPORT = re.compile(r"""^(?:import|export)\b[^;"']*["'](\.{1,2}/[^"']+)["']""", re.MULTILINE)


@register.simple_tag
def module(path: str) -> SafeString:
    """The script under this path of the static files, and links to what it imports."""
    links = format_html_join(
        "", '<link rel="modulepreload" href="{}">', ((static(name),) for name in imports_of(path))
    )
    return format_html('{}<script type="module" src="{}"></script>', links, static(path))


@functools.cache
def imports_of(path: str) -> tuple[str, ...]:
    """What a module imports, by others too; each once, the nearest first."""
    found: dict[str, None] = {}
    waiting = [path]
    while waiting:
        name = waiting.pop(0)
        source = finders.find(name)
        text = Path(source).read_text(encoding="utf-8") if isinstance(source, str) else ""
        for address in _IMPORT.findall(text):
            imported = posixpath.normpath(posixpath.join(posixpath.dirname(name), address))
            if imported not in found and imported != path:
                found[imported] = None
                waiting.append(imported)
    return tuple(found)
