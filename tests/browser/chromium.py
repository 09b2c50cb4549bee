"""Debian's Chromium: found where packages put it, installed where root runs and it is missing.

`python -m tests.browser.chromium` prints where it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb"]


class ChromiumMissingError(RuntimeError):
    def __init__(self, why: str) -> None:
        super().__init__(
            f"The browser tests need Chromium, which is not here and {why}. "
            "Install it: apt install chromium"
        )


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def provide_chromium() -> str:
    """The path of Chromium, which is installed if need be. Raises ChromiumMissingError."""
    if found := find_chromium():
        return found
    if shutil.which("apt-get") is None:
        raise ChromiumMissingError("cannot be installed without apt-get")
    if os.geteuid() != 0:
        raise ChromiumMissingError("can be installed by root alone")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            ["apt-get", "-q", *arguments],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
            raise ChromiumMissingError(f"could not be installed ({last})")
    found = find_chromium()
    if found is None:
        raise ChromiumMissingError("is not on the path after it was installed")
    return found


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{provide_chromium()}\n")
    except ChromiumMissingError as error:
        sys.exit(str(error))
