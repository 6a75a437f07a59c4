import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.ops.doctor.examine import examine
from errorkernel.ops.doctor.report import Status, line
from errorkernel.platform import conf


class Command(StewardCommand):
    help = catalogue.summary("doctor")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        settings = conf.get()
        checks = asyncio.run(examine(settings))
        well = not any(check.status is Status.FAILED for check in checks)
        described = conf.describe(settings)
        if options["json"]:
            named = [{"name": name, "value": value, "meaning": meaning} for name, value, meaning in described]
            self.stdout.write(
                json.dumps({"ok": well, "checks": [asdict(check) for check in checks], "settings": named})
            )
        else:
            self.stdout.write("\n".join(map(line, checks)))
            self.stdout.write("\nSettings")
            self.stdout.write("\n".join(f"{name:<32} {value}" for name, value, _ in described))
        sys.exit(0 if well else 1)
