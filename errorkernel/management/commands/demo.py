from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.management.base import StewardCommand
from errorkernel.store import fleet


class Command(StewardCommand):
    help = "Remove everything that the demo fleet left: its nodes, reports and questions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["remove"])

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{fleet.remove_demo(now=datetime.now(UTC))} demo nodes were removed.")
