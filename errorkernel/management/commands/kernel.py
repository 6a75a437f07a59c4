import sys
from typing import Any

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.ops.runner.prepare import StartError
from errorkernel.ops.runner.roles import kernel
from errorkernel.platform import conf


class Command(StewardCommand):
    help = catalogue.summary("kernel")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            sys.exit(kernel(conf.get()))
        except StartError as exc:
            sys.exit(f"steward: {exc}")
