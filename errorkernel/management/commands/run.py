from typing import Any

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.node.run.main import main


class Command(StewardCommand):
    help = catalogue.summary("run")

    def run_from_argv(self, argv: list[str]) -> None:
        # The console script has its own, shorter way here; its options are read in one place.
        main(argv[2:])

    def print_help(self, prog_name: str, subcommand: str) -> None:
        main(["--help"])

    def handle(self, *args: Any, **options: Any) -> None:
        raise NotImplementedError("steward run is started from a command line: it becomes the program that it runs.")
