import sys
from typing import Any

from errorkernel.management.base import StewardCommand
from errorkernel.ops.runner.roles import kernel
from errorkernel.platform import conf


class Command(StewardCommand):
    help = "Start the kernel role alone: the background worker that takes reports in and publishes decisions."

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(kernel(conf.get()))
