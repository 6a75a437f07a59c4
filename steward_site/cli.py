"""The console script: ``steward X`` is ``python manage.py X``, with settings problems told in one sentence."""

import os
import sys


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        # On a node: no settings, no database, and nothing of Django, which a program should not have to wait for.
        from errorkernel.node.run.main import main as run

        run(sys.argv[2:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "steward_site.settings")
    _take_data_dir(sys.argv)
    from django.core.management import execute_from_command_line

    from errorkernel.platform.conf import ConfError

    try:
        execute_from_command_line(sys.argv)
    except ConfError as exc:
        if sys.argv[1:2] == ["doctor"]:
            from errorkernel.ops.doctor.report import without_settings

            print(without_settings(str(exc), as_json="--json" in sys.argv))  # noqa: T201
            sys.exit(1)
        sys.exit(f"steward: {exc}")
    except KeyboardInterrupt:
        sys.exit(130)


def _take_data_dir(argv: list[str]) -> None:
    """``--data-dir D`` of any command decides which settings are read, so it must be known before they are."""
    for index, argument in enumerate(argv):
        if argument == "--":
            return
        if argument.startswith("--data-dir="):
            os.environ["STEWARD_DATA_DIR"] = argument.partition("=")[2]
        elif argument == "--data-dir" and index + 1 < len(argv):
            os.environ["STEWARD_DATA_DIR"] = argv[index + 1]
