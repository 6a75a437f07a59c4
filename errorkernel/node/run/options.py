"""What ``steward run`` is told on its command line and by the environment."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from errorkernel.domain.limits import DEADLINE_MAX_S
from errorkernel.domain.values import Action, OnDeadline
from errorkernel.node import credentials
from errorkernel.node.delivery import isolation
from errorkernel.node.errors import CredentialsError
from errorkernel.node.supervision.restart_policy import Restart
from errorkernel.node.supervision.worker import GRACE_S

JOURNAL_VARIABLE = "STEWARD_NODE_JOURNAL"
OUR_FAULT = 125
"""The status for a command line that cannot be followed, as of env(1), chroot(1), docker(1): no program has run."""
STDERR_LINES_MAX = 1000

_ABOUT = """\
Run a program under supervision: a failure is reported to the error kernel with exit status or signal, the last lines
of its standard error, duration and command. Input, output and signals are passed through, and the exit status is the
program's own. It runs whether or not the error kernel can be reached.

  steward run --node ship1 --process backup -- /usr/local/bin/backup --all
"""
_STATUS = """\
exit status: the program's own; after a signal, the same signal (128 + its number for process 1). 127: there is no such
command; 126: it cannot be run; 125: these options cannot be followed, and nothing was run.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """``command`` and how to look after it."""

    command: list[str]
    process: str
    credentials: credentials.Credentials
    journal: Path
    restart: Restart
    ask: bool
    grace_s: float
    deadline_s: float | None
    on_deadline: OnDeadline
    when_isolated: Action | None
    isolated_grace_s: float
    tags: dict[str, str]
    stderr_lines: int
    hide_arguments: bool
    pass_notify: bool


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(OUR_FAULT, f"steward run: {message}\n")


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises SystemExit, with what to say and status 125, or 0 for ``--help``."""
    words = parser()
    own, command = _split(argv)
    given = words.parse_args(own)
    if not command:
        words.error("the command to run is missing; it comes after --")
    if given.deadline is None and given.on_deadline is not None:
        words.error("--on-deadline needs --deadline")
    if given.deadline is None and given.when_isolated is not None:
        words.error("--when-isolated needs --deadline")
    if given.when_isolated is None and given.isolated_grace is not None:
        words.error("--isolated-grace needs --when-isolated")
    if given.deadline is not None and not given.ask:
        words.error("--deadline needs --ask")
    try:
        found = credentials.read(given.credentials) if given.credentials else credentials.find(environ)
    except CredentialsError as exc:
        words.error(str(exc))
    if given.node and given.node != found.node:
        words.error(f"these are credentials of the node {found.node}, not of {given.node}")
    return Options(
        command=command,
        process=given.process or os.path.basename(command[0]) or command[0],
        credentials=found,
        journal=Path(given.journal or environ.get(JOURNAL_VARIABLE) or _default_journal(found.node, environ)),
        restart=Restart(given.restart),
        ask=given.ask,
        grace_s=given.grace,
        deadline_s=given.deadline,
        on_deadline=OnDeadline(given.on_deadline or OnDeadline.ESCALATE),
        when_isolated=Action(given.when_isolated) if given.when_isolated else None,
        isolated_grace_s=isolation.GRACE_S if given.isolated_grace is None else given.isolated_grace,
        tags=dict(given.tag),
        stderr_lines=given.stderr_lines,
        hide_arguments=given.hide_arguments,
        pass_notify=given.pass_notify,
    )


def parser() -> argparse.ArgumentParser:
    """The options, without the command."""
    words = _Parser(
        prog="steward run",
        usage="steward run [options] -- COMMAND [ARGUMENT …]",
        description=_ABOUT,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _who_reports(words.add_argument_group("who reports"))
    _what_follows(words.add_argument_group("what follows"))
    _what_is_reported(words.add_argument_group("what is reported"))
    words.add_argument(
        "--pass-notify", action="store_true",
        help="leave NOTIFY_SOCKET of systemd to the program, instead of telling systemd ourselves",
    )  # fmt: skip
    return words


def _who_reports(who: argparse._ArgumentGroup) -> None:
    who.add_argument("--node", metavar="N", help="the node; default: the one that the credentials are for")
    who.add_argument("--process", metavar="P", help="the name that reports bear; default: the command's name")
    who.add_argument(
        "--credentials", metavar="FILE",
        help="the node's credentials; default: STEWARD_NODE_CREDENTIALS names the file, or"
        " STEWARD_NODE_CREDENTIALS_JSON holds what would be in it",
    )  # fmt: skip
    who.add_argument(
        "--journal", metavar="FILE",
        help="where reports are kept until they are sent; all programs of a node may share it; default:"
        " STEWARD_NODE_JOURNAL, else ~/.local/state/steward/<node>.journal",
    )  # fmt: skip


def _what_follows(what: argparse._ArgumentGroup) -> None:
    what.add_argument(
        "--restart", choices=[one.value for one in Restart], default=Restart.TEMPORARY.value,
        help="permanent: always start again; transient: after a failure; temporary: never (the default)",
    )  # fmt: skip
    what.add_argument(
        "--ask", action="store_true",
        help="block after a failure until somebody answers: continue (as --restart says), kill (start anew) or stop",
    )  # fmt: skip
    what.add_argument(
        "--deadline", metavar="S", type=_deadline, help="seconds after which --on-deadline applies to a question"
    )
    what.add_argument(
        "--on-deadline", choices=[one.value for one in OnDeadline],
        help="escalate: mark it and go on waiting (the default); or the answer",
    )  # fmt: skip
    what.add_argument(
        "--when-isolated", choices=[one.value for one in isolation.POSSIBLE],
        help="the answer where the error kernel has not been heard from since before the deadline; default: none",
    )  # fmt: skip
    what.add_argument(
        "--isolated-grace", metavar="S", type=_grace,
        help=f"seconds from the deadline until --when-isolated applies; default {isolation.GRACE_S:g}",
    )  # fmt: skip
    what.add_argument(
        "--grace", metavar="S", type=_grace, default=GRACE_S,
        help=f"seconds between telling the program to end and forcing it; default {GRACE_S:g}",
    )  # fmt: skip


def _what_is_reported(said: argparse._ArgumentGroup) -> None:
    said.add_argument("--tag", metavar="NAME=VALUE", type=_tag, action="append", default=[], help="may be repeated")
    said.add_argument(
        "--stderr-lines", metavar="N", type=_lines, default=30,
        help="so many of the last lines of standard error; 0: the program gets our standard error itself. Default 30",
    )  # fmt: skip
    said.add_argument("--hide-arguments", action="store_true", help="report the command without its arguments")


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(argv)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _default_journal(node: str, environ: Mapping[str, str]) -> Path:
    state = environ.get("XDG_STATE_HOME")
    # A user without a home (containers) has none below the working directory either.
    home = "/" if os.path.expanduser("~") == "~" else os.path.expanduser("~")
    return (Path(state) if state else Path(home, ".local", "state")) / "steward" / f"{node}.journal"


def _grace(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return number


def _deadline(text: str) -> float:
    number = float(text)
    if not 0 < number <= DEADLINE_MAX_S:
        raise argparse.ArgumentTypeError(f"a deadline is more than 0 and at most {DEADLINE_MAX_S} seconds")
    return number


def _lines(text: str) -> int:
    number = int(text)
    if not 0 <= number <= STDERR_LINES_MAX:
        raise argparse.ArgumentTypeError(f"from 0 to {STDERR_LINES_MAX}")
    return number


def _tag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError("a tag is written NAME=VALUE")
    return name, value
