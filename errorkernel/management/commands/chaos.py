import random
import sys
from typing import Any

from django.core.management.base import CommandParser

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.ops.chaos import report, sabotage
from errorkernel.ops.chaos.instance import ChaosError
from errorkernel.ops.chaos.run import Options, Run, scratch


class Command(StewardCommand):
    help = catalogue.summary("chaos")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seed", type=int, help="repeats a run; without it, one is drawn")
        parser.add_argument("--faults", type=int, default=60, help="how many things go wrong")
        parser.add_argument("--every", type=float, default=1.0, help="seconds from one to the next, on average")
        parser.add_argument("--nodes", type=int, default=3, help="how many nodes there are")
        what = "; ".join(f"{name}: {text}" for name, text in sabotage.NAMES.items())
        parser.add_argument(
            "--break", dest="off", choices=[*sabotage.NAMES], default="", help=f"switch a protection off. {what}"
        )
        parser.add_argument("--keep", action="store_true", help="leave the scratch instance's files")

    def handle(self, *args: Any, **given: Any) -> None:
        seed = random.randrange(10**6) if given["seed"] is None else given["seed"]  # noqa: S311
        options = Options(seed, given["faults"], given["nodes"], given["every"], given["off"])
        with scratch(given["keep"]) as directory:
            try:
                result = Run(options, directory).play()
            except ChaosError as exc:
                sys.exit(f"steward: {exc}\nAgain: {report.command(options)}")
            for line in report.lines(result):
                self.stdout.write(line)
            if given["keep"]:
                self.stdout.write(f"Its files are in {directory}")
        sys.exit(1 if result.broken else 0)
