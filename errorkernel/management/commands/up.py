import sys
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.ops.runner.prepare import StartError
from errorkernel.ops.runner.roles import Options, up
from errorkernel.platform import conf


class Command(StewardCommand):
    help = catalogue.summary("up")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address that the web server listens on")
        parser.add_argument("--port", type=int, default=8000, help="its port; 0: any free one")
        parser.add_argument("--demo", action="store_true", help="add a small fleet of demo nodes that report and block")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            status = up(conf.get(), Options(options["host"], options["port"], options["demo"]))
        except StartError as exc:
            sys.exit(f"steward: {exc}")
        sys.exit(status)
