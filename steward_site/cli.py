"""The console script: ``steward X`` is ``python manage.py X``. What needs no Django is done without importing it."""

import os
import sys
from importlib.util import find_spec
from typing import NoReturn

from errorkernel.management import catalogue, completion

_EXTRA = "steward-error-kernel[server]"
_SERVER_MODULES = ("django", "channels", "daphne")
"""A node's own program may have brought the first of them."""


def main() -> None:
    """Run the command line of this process."""
    arguments = sys.argv[1:]
    command = arguments[0] if arguments else "--help"
    if command == "help" and len(arguments) > 1 and not arguments[1].startswith("-"):
        command, arguments = arguments[1], [arguments[1], "--help"]
    if command in ("--help", "-h") or arguments == ["help"]:
        print(catalogue.overview())  # noqa: T201
    elif command in ("--version", "version"):
        print(f"{catalogue.PROGRAM} {catalogue.version()}")  # noqa: T201
    elif command == "run":
        # On a node: no settings, no database, and nothing of Django, for which a program should not have to wait.
        from errorkernel.node.run.main import main as run

        run(arguments[1:])
    else:
        _run_with_django(command, arguments)


def _run_with_django(command: str, arguments: list[str]) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    _take_data_dir(arguments)
    if not all(map(find_spec, _SERVER_MODULES)):
        _run_without_server(command, arguments)
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    from errorkernel.platform import conf

    if command in catalogue.names():
        os.umask(0o077)  # what our commands write holds secrets: databases, credentials
    if command not in catalogue.CREATING:
        conf.serve_single_command()
    try:
        if command == "help":
            print(_overview_of_all())  # noqa: T201
        elif command not in catalogue.names() and command not in (known := _commands_of_django()):
            sys.exit(f"{catalogue.PROGRAM}: {catalogue.unknown(command, known)}")
        else:
            execute_from_command_line([catalogue.PROGRAM, *arguments])
    except conf.ConfError as exc:
        if command == "doctor":
            from errorkernel.ops.doctor.report import without_settings

            print(without_settings(str(exc), as_json="--json" in arguments))  # noqa: T201
            sys.exit(1)
        sys.exit(f"{catalogue.PROGRAM}: {exc}")
    except DatabaseError as exc:
        from errorkernel.store.platform import schema

        if not schema.is_damage(exc):
            raise
        sys.exit(f"{catalogue.PROGRAM}: {schema.unusable(exc)}")
    except KeyboardInterrupt:
        sys.exit(130)


def _run_without_server(command: str, arguments: list[str]) -> NoReturn:
    """The installation for nodes alone: one command is possible, of the others it says what they need."""
    if command == "completion" and arguments[1:] and arguments[1] in completion.SHELLS:
        print(completion.script(arguments[1], completion.commands_on_node()), end="")  # noqa: T201
        sys.exit(0)
    if command == "completion":
        sys.exit(f"Usage: {catalogue.PROGRAM} completion {'|'.join(completion.SHELLS)}")
    if command not in catalogue.names():
        sys.exit(f"{catalogue.PROGRAM}: {catalogue.unknown(command)}")
    sys.exit(f"{catalogue.PROGRAM}: “{command}” needs the server. Install it with: pip install '{_EXTRA}'")


def _commands_of_django() -> list[str]:
    """The names of all commands that Django finds. Raises ConfError."""
    import django
    from django.core.management import get_commands

    django.setup()  # before it, Django finds the commands of no app
    return sorted(get_commands())


def _overview_of_all() -> str:
    listed = set(catalogue.names())
    others = [name for name in _commands_of_django() if name not in listed]
    return catalogue.overview() + "\n\nDjango\n" + "\n".join(f"  {name}" for name in others)


def _take_data_dir(arguments: list[str]) -> None:
    """``--data-dir D`` of any command decides which settings are read, so it must be known before they are."""
    for index, argument in enumerate(arguments):
        if argument == "--":
            return
        if argument.startswith("--data-dir="):
            os.environ["STEWARD_DATA_DIR"] = argument.partition("=")[2]
        elif argument == "--data-dir" and index + 1 < len(arguments):
            os.environ["STEWARD_DATA_DIR"] = arguments[index + 1]
