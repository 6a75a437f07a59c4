"""What our commands share: the data dir option, and settings problems told in one sentence."""

import argparse
import os
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from errorkernel.store.audit import Who


def who() -> Who:
    """Who does something by a command, as the store's functions take it."""
    return {"actor": "system", "origin": f"command line, uid {os.getuid()}", "now": datetime.now(UTC)}


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Actions of a command need it too: people write it at the end."""
    parser.add_argument("--data-dir", help="where everything is kept (STEWARD_DATA_DIR)")


class StewardCommand(BaseCommand):
    """A command that knows ``--data-dir`` (the console script has already read it by the time it runs)."""

    requires_system_checks: list[str] = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        add_data_dir(parser)
        # Django's own options would push ours out of sight.
        for action in parser._actions:
            if action.dest in (
                "settings",
                "pythonpath",
                "verbosity",
                "traceback",
                "no_color",
                "force_color",
                "skip_checks",
            ):
                action.help = argparse.SUPPRESS
        return parser
