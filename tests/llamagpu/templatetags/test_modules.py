"""What a page's script imports is asked for with the page."""

from __future__ import annotations

import pytest
from django.contrib.staticfiles import finders

from llamagpu.templatetags.modules import imports_of, module


def test_what_a_module_imports_is_found_through_other_modules() -> None:
    found = imports_of("monitoring/js/dashboard.js")
    # The second by a module that the first imports.
    assert {"monitoring/js/overview_charts.js", "llamagpu/js/charts.js"} <= set(found)
    assert len(found) == len(set(found))
    assert "monitoring/js/dashboard.js" not in found


@pytest.mark.parametrize(
    "path", ["monitoring/js/dashboard.js", "inference/js/playground/playground.js"]
)
def test_all_that_is_asked_for_is_there(path: str) -> None:
    assert [name for name in imports_of(path) if finders.find(name) is None] == []


def test_imports_in_code_that_people_copy_are_none() -> None:
    assert all(name.endswith("js") for name in imports_of("inference/js/playground/snippets.js"))


def test_links_come_with_the_script() -> None:
    tags = module("llamagpu/js/page.js")
    assert '<link rel="modulepreload" href="/static/llamagpu/js/dialog.js">' in tags
    assert tags.endswith('<script type="module" src="/static/llamagpu/js/page.js"></script>')
