"""manage.py audit_verify: is the audit log whole? Exit code 1 where it is not."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from monitoring.services.audit_verification import Report, sign_head_anew, verify_audit_log


class Command(BaseCommand):
    help = (
        "Walk the audit log, archives included, and name every row that was changed, removed, "
        "inserted or moved. Exit code 1 when there is one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--accept-head",
            action="store_true",
            help="sign the end of the log anew, after LLAMA_KEY_PEPPER was changed on purpose",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["accept_head"]:
            sign_head_anew()
        shows_progress = self.stderr.isatty() and not options["json"]
        report = verify_audit_log(progress=self._draw if shows_progress else None)
        if shows_progress:
            self.stderr.write("")
        if options["json"]:
            self.stdout.write(json.dumps(describe(report)))
        else:
            self._tell(report)
        if not report.is_intact:
            sys.exit(1)

    def _tell(self, report: Report) -> None:
        for problem in report.problems:
            self.stdout.write(f"{problem.kind}: {problem.message}")
        where = f" ({report.num_archived} of them archived)" if report.num_archived else ""
        verdict = "intact" if report.is_intact else "BROKEN"
        self.stdout.write(
            f"{verdict}: {report.num_rows} rows{where}, the last hash is {report.head}"
        )

    def _draw(self, done: int, total: int) -> None:
        part = done / total if total else 1.0
        bar = "#" * int(part * 30)
        self.stderr.write(f"\r[{bar:<30}] {done}/{total}", ending="")
        self.stderr.flush()


def describe(report: Report) -> dict[str, Any]:
    return {
        "intact": report.is_intact,
        "rows": report.num_rows,
        "archived": report.num_archived,
        "head": report.head,
        "problems": [asdict(problem) for problem in report.problems],
    }
