import time
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.store import nodes
from errorkernel.store.platform.actor import Actor

ORIGIN = "steward demo remove"
QUIET_S = 2.5
"""A broker has let disabled nodes go within a second, and what they had sent before is stored in another."""
QUIET_AT_MOST_S = 20.0


class Command(StewardCommand):
    help = catalogue.summary("demo")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["remove"])

    def handle(self, *args: Any, **options: Any) -> None:
        if names := nodes.demo_nodes():
            for name in names:
                nodes.set_node_enabled(name, False, actor=Actor.system(datetime.now(UTC), origin=ORIGIN))
            _until_quiet()
        self.stdout.write(f"{nodes.remove_demo(now=datetime.now(UTC))} demo nodes were removed.")


def _until_quiet() -> None:
    """Return once nothing of them arrives any more: it would make its node known again."""
    deadline = time.monotonic() + QUIET_AT_MOST_S
    before = -1
    while before != (before := nodes.demo_events()) and time.monotonic() < deadline:
        time.sleep(QUIET_S)
