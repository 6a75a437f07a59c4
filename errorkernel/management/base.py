"""What our commands share: the data dir option, and settings problems told in one sentence."""

import argparse
import os
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError, connection

from errorkernel.platform import conf
from errorkernel.store.platform.audit import Who


def who() -> Who:
    """Who does something by a command, as the store's functions take it."""
    return {"actor": "system", "origin": f"command line, uid {os.getuid()}", "now": datetime.now(UTC)}


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Actions of a command need it too: people write it at the end."""
    parser.add_argument("--data-dir", help="where everything is kept (STEWARD_DATA_DIR)")


class StewardCommand(BaseCommand):
    """A command that knows ``--data-dir`` (the console script has already read it by the time it runs)."""

    requires_system_checks: list[str] = []

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Raises CommandError where there are no tables yet, most often because of a forgotten ``--data-dir``."""
        try:
            return super().execute(*args, **options)
        except (OperationalError, ProgrammingError) as exc:
            if "errorkernel_node" in connection.introspection.table_names():
                raise
            where = conf.get().data_dir if connection.vendor == "sqlite" else "the database"
            raise CommandError(
                f"Steward has never been started on {where}. Start `steward up` there first, or name the right"
                " directory with --data-dir."
            ) from exc

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
