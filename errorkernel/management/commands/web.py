import sys
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.ops.runner.prepare import StartError
from errorkernel.ops.runner.roles import Options, web
from errorkernel.platform import conf


class Command(StewardCommand):
    help = catalogue.summary("web")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address that the web server listens on")
        parser.add_argument("--port", type=int, default=8000, help="its port; 0: any free one")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            sys.exit(web(conf.get(), Options(options["host"], options["port"])))
        except StartError as exc:
            sys.exit(f"steward: {exc}")
