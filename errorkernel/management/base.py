"""Base of our commands: the option ``--data-dir``, and a help without Django's options."""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, ProgrammingError, connection

from errorkernel.management import catalogue
from errorkernel.platform import conf
from errorkernel.store.platform.actor import Actor

_OPTIONS_OF_DJANGO = frozenset(
    (
        "version",
        "settings",
        "pythonpath",
        "verbosity",
        "traceback",
        "no_color",
        "force_color",
        "skip_checks",
        "database",
    )
)


def command_actor() -> Actor:
    """The actor of a command's changes."""
    return Actor.system(datetime.now(UTC), f"command line, uid {os.getuid()}")


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Add ``--data-dir``. Actions of a command need it too: people write it at the end."""
    parser.add_argument("--data-dir", metavar="DIR", help="the data directory (default: STEWARD_DATA_DIR)")


class OurHelp(BaseCommand):
    """A command with ``--data-dir``, whose help hides the options that every Django command has."""

    def get_version(self) -> str:
        return catalogue.version()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        add_data_dir(parser)
        for action in parser._actions:
            if action.dest in _OPTIONS_OF_DJANGO:
                action.help = argparse.SUPPRESS
        return parser


class StewardCommand(OurHelp):
    """A command of ours. The console script has read ``--data-dir`` by the time that it runs."""

    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Raises SystemExit where there are no tables yet, most often because of a forgotten ``--data-dir``."""
        try:
            return super().execute(*args, **options)
        except (OperationalError, ProgrammingError):
            if _has_tables():
                raise
            where = conf.get().data_dir if connection.vendor == "sqlite" else "the database"
            sys.exit(
                f"{catalogue.PROGRAM}: Steward has never been started on {where}. Run `steward up` first, or name the"
                " right directory with --data-dir."
            )


def _has_tables() -> bool:
    try:
        return "errorkernel_node" in connection.introspection.table_names()
    except OperationalError:
        # A file that is missing is no fault of the database; anything else is.
        return connection.vendor != "sqlite" or Path(str(connection.settings_dict["NAME"])).exists()
