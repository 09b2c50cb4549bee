"""manage.py doctor: is everything there that serving needs?"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.doctor import Finding, examine, missing_backend


class Command(BaseCommand):
    help = (
        "Look at backends, database, Redis, model, memory and disk; say how to mend what is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument(
            "--backend", action="store_true", help="only whether LLAMA_BACKEND can be had"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["backend"]:
            missing = missing_backend()
            if missing:
                raise CommandError(missing)
            return
        findings = examine()
        healthy = all(finding.ok for finding in findings if finding.is_required)
        if options["json"]:
            report = {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(report))
        else:
            for finding in findings:
                self.stdout.write(f"{self._mark(finding)} {finding.name:<14} {finding.detail}")
        if not healthy:
            raise CommandError("Something that serving needs is missing: see above.")

    def _mark(self, finding: Finding) -> str:
        if finding.ok:
            return self.style.SUCCESS("ok  ")
        return self.style.ERROR("fail") if finding.is_required else self.style.WARNING("note")
