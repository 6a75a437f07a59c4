import sys
from typing import Any

from errorkernel import conf
from errorkernel.management.base import StewardCommand
from errorkernel.runner.roles import kernel


class Command(StewardCommand):
    help = "Start the kernel role alone: the background worker that takes reports in and publishes decisions."

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(kernel(conf.get()))
