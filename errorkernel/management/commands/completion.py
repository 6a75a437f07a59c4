from typing import Any

from django.core.management import load_command_class
from django.core.management.base import CommandParser

from errorkernel.management import catalogue
from errorkernel.management.base import StewardCommand
from errorkernel.management.completion import SHELLS, Entry, commands_on_node, describe, script


class Command(StewardCommand):
    help = catalogue.summary("completion")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("shell", choices=SHELLS)

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(script(options["shell"], _commands()), ending="")


def _commands() -> dict[str, Entry]:
    found = commands_on_node()
    for name in catalogue.names():
        if name not in found:
            parser = load_command_class("errorkernel", name).create_parser(catalogue.PROGRAM, name)
            found[name] = describe(parser, catalogue.summary(name))
    return {name: found[name] for name in catalogue.names()}
