"""Which commands there are: name, group and one line each, for ``steward --help``.

Imports nothing but the standard library: help, completion and a mistyped name need no Django, which takes longer to
import than all of this takes to run.
"""

import difflib
from collections.abc import Iterable, Iterator

PROGRAM = "steward"
DISTRIBUTION = "steward-error-kernel"

GROUPS: dict[str, dict[str, str]] = {
    "Run": {
        "up": "Start the whole product: broker, database, kernel and web.",
        "web": "Start the web role alone: pages, API and websockets.",
        "kernel": "Start the kernel role alone: the background worker.",
        "demo": "Remove everything that the demo fleet created.",
    },
    "Nodes": {
        "node": "Create, renew, list, disable and enable the credentials of nodes.",
        "run": "On a node: run a program under supervision and report its failures.",
        "broker-config": "Print the configuration for a NATS server that Steward does not start.",
        "signing-key": "Create or show the key that signs messages to nodes of ctrl.",
    },
    "Operators": {
        "token": "Create an API token for a user.",
        "changepassword": "Change the password of a user.",
    },
    "Diagnose": {
        "doctor": "Check broker, database, disk and clocks, and say how to repair what is wrong.",
        "chaos": "Inject faults into a scratch instance and check that nothing is lost.",
    },
    "Shell": {
        "completion": "Print the completion script for bash, zsh or fish.",
        "help": "Describe a command. With --all: list Django's commands too.",
    },
}


CREATING = frozenset(("up", "web", "kernel", "chaos", "migrate"))
"""Commands that may create secrets and a database. All others need an existing installation."""


def names() -> Iterator[str]:
    """The names of all commands, in the order of the help."""
    for commands in GROUPS.values():
        yield from commands


def summary(name: str) -> str:
    """The command's one line. Raises KeyError."""
    return next(commands[name] for commands in GROUPS.values() if name in commands)


def overview() -> str:
    """What ``steward --help`` prints."""
    width = max(map(len, names())) + 2
    lines = [f"Usage: {PROGRAM} COMMAND [OPTIONS]"]
    for group, commands in GROUPS.items():
        lines += ["", group]
        lines += [f"  {name:<{width}}{text}" for name, text in commands.items()]
    lines += [
        "",
        f"Describe a command:        {PROGRAM} COMMAND --help",
        f"List Django's commands:    {PROGRAM} help --all",
        f"Print the version:         {PROGRAM} --version",
    ]
    return "\n".join(lines)


def unknown(name: str, others: Iterable[str] = ()) -> str:
    """The sentence for a command that does not exist; ``others`` are names outside the help that are accepted too."""
    near = difflib.get_close_matches(name, [*names(), *others], n=1)
    hint = f" Did you mean “{near[0]}”?" if near else ""
    return f"There is no command “{name}”.{hint} `{PROGRAM} --help` lists the commands."


def version() -> str:
    """The version that is installed."""
    import importlib.metadata  # slow to import, and needed here alone

    return importlib.metadata.version(DISTRIBUTION)
