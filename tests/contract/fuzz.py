"""Random calls, made from the API's own description, against the whole portal with a fake engine.

`python -m tests.contract.fuzz SECONDS` (make fuzz) goes on for so long, differently each time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.benchmark.portal.own_stack import OwnStack, own_stack
from tests.environment import MODEL_ROOT

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance",
)  # fmt: skip
#: What would end the run: no model, or limits and rates that let nothing pass.
LEFT_OUT = ("change_configuration", "delete_model")


@contextmanager
def fake_stack() -> Iterator[OwnStack]:
    """A portal whose engine is tests/fakes.py."""
    worker = "tests.contract.fake_worker"
    with own_stack("daphne", MODEL_ROOT, worker_application=worker) as stack:
        yield stack


def run(stack: OwnStack, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Schemathesis as a program, in `folder`; it fails where an answer is not as it is described."""
    left_out = [part for name in LEFT_OUT for part in ("--exclude-operation-id", name)]
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
            *(str(Path(__file__).with_name("schemathesis.toml")), "run"),
            *(f"http://127.0.0.1:{stack.port}/api/schema/?format=json", "--no-color"),
            *("--header", f"Authorization: Bearer {stack.key}", "--checks", ",".join(CHECKS)),
            # A key of random letters beside ours would only get the address locked out.
            *("--generation-with-security-parameters", "false", "--generation-database", "none"),
            *("--continue-on-failure", "--request-timeout", "60", *left_out, *options),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def main(seconds: str, folder: Path) -> int:
    """Long and by chance; prints what was found."""
    with fake_stack() as stack:
        done = run(stack, folder, "--max-time", seconds, "--max-examples", "200")
    sys.stdout.write(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory(prefix="llamagpu-fuzz-") as place:
        sys.exit(main(sys.argv[1], Path(place)))
