"""`make lighthouse`: the overview, signed in, on a server of its own; 1 where a target is missed.

The window of a desktop counts, since the overview is a page for operators; a phone's figures are told.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

from inference.benchmark.machine import this_machine
from inference.benchmark.portal.page_visits import fill_sign_in
from tests.browser.chromium import ARGUMENTS, ChromiumMissingError, provide_chromium
from tests.browser.lighthouse.scores import TARGETS, Scores, read_scores
from tests.browser.portal import ADMIN_PASSWORD, running_stack

PROGRAM = Path(__file__).parent / "node_modules" / "lighthouse" / "cli" / "index.js"
#: The window that counts comes first.
WINDOWS = {"desktop": ["--preset=desktop"], "phone": []}
COUNTS = "desktop"


@contextmanager
def signed_in_browser(url: str) -> Iterator[int]:
    """A browser whose only profile is signed in; the port for Lighthouse to join it by."""
    with TemporaryDirectory(prefix="llamagpu-lighthouse-") as folder, sync_playwright() as started:
        # Lighthouse opens a page of the profile itself: another context's session would not be there.
        context = started.chromium.launch_persistent_context(
            folder,
            executable_path=provide_chromium(),
            args=[*ARGUMENTS, "--remote-debugging-port=0"],
        )
        fill_sign_in(context.pages[0], url, "admin", ADMIN_PASSWORD)
        context.pages[0].goto("about:blank")
        yield int((Path(folder) / "DevToolsActivePort").read_text().split()[0])
        context.close()


def report_of(url: str, port: int, options: list[str]) -> dict[str, Any]:
    """One run. Caches are emptied before it, cookies stay."""
    command = [
        *("node", str(PROGRAM), url, f"--port={port}", "--output=json", "--quiet"),
        *("--no-enable-error-reporting", f"--only-categories={','.join(TARGETS)}"),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Lighthouse failed: {done.stderr.strip()[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    # A page that asks to sign in would have fine scores too.
    if report["finalDisplayedUrl"] != url:
        sys.exit(f"Lighthouse was led to {report['finalDisplayedUrl']}")
    return report


def lines_of(window: str, scores: Scores) -> Iterator[str]:
    for category, median in scores.medians.items():
        lowest, highest = scores.spread[category]
        yield f"{window:<8} {category:<15} {median:3.0f}   ({lowest:.0f} to {highest:.0f})"
        for cost in scores.costs[category]:
            yield f"{'':<24}   -{cost.points:.1f}   {cost.audit}: {cost.told}"
            yield from (f"{'':<33}{cause}" for cause in cost.causes)


def main() -> None:
    parser = argparse.ArgumentParser(description="The overview in Lighthouse.")
    parser.add_argument("--runs", type=int, default=3, help="of each window; the median counts")
    parser.add_argument("--windows", choices=WINDOWS, nargs="+", default=list(WINDOWS))
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    options = parser.parse_args()
    machine = this_machine()
    with running_stack() as stack, signed_in_browser(stack.url) as port:
        found = {
            window: read_scores(
                [report_of(f"{stack.url}/", port, WINDOWS[window]) for _ in range(options.runs)]
            )
            for window in options.windows
        }
    if options.json:
        told = {window: asdict(scores) for window, scores in found.items()}
        sys.stdout.write(f"{json.dumps({**machine.as_json(), 'targets': TARGETS, **told})}\n")
    else:
        sys.stdout.write(f"{machine}\n")
        for window, scores in found.items():
            sys.stdout.writelines(f"{line}\n" for line in lines_of(window, scores))
    missed = found[COUNTS].missed() if COUNTS in found else []
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    try:
        main()
    except (ChromiumMissingError, ValueError) as error:
        sys.exit(str(error))
