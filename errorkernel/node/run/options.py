"""The options of ``steward run``, from its command line and the environment."""

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

OUR_FAULT = 125
"""Exit status for wrong options, as in env(1), chroot(1), docker(1): no program was run."""
STDERR_LINES_MAX = 1000

_ABOUT = """\
Run a program under supervision: a failure is reported to the error kernel with exit status or signal, the last lines
of its standard error, duration and command. Input, output and signals are passed through, and the exit status is the
program's own. It runs whether or not the error kernel can be reached.

  steward run --node ship1 --process backup -- /usr/local/bin/backup --all
"""
_STATUS = """\
exit status: that of the program; after a signal, the same signal (128 + its number for process 1). 127: the command
does not exist. 126: the command cannot be run. 125: the options are wrong, and nothing was run.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """``command``, and how to supervise it."""

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
    bandwidth: float | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(OUR_FAULT, f"steward run: {message}\n")


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Raises SystemExit with a message and status 125, or 0 for ``--help``."""
    parser = make_parser()
    own, command = _split(argv)
    given = parser.parse_args(own)
    if not command:
        parser.error("the command is missing; write it after --")
    if given.deadline is None and given.on_deadline is not None:
        parser.error("--on-deadline needs --deadline")
    if given.deadline is None and given.when_isolated is not None:
        parser.error("--when-isolated needs --deadline")
    if given.when_isolated is None and given.isolated_grace is not None:
        parser.error("--isolated-grace needs --when-isolated")
    if given.deadline is not None and not given.ask:
        parser.error("--deadline needs --ask")
    try:
        node_credentials = credentials.read(given.credentials) if given.credentials else credentials.find(environ)
        bandwidth = credentials.bandwidth(environ) if given.bandwidth is None else given.bandwidth
    except CredentialsError as exc:
        parser.error(str(exc))
    if given.node and given.node != node_credentials.node:
        parser.error(f"these are credentials of the node {node_credentials.node}, not of {given.node}")
    return Options(
        command=command,
        process=given.process or os.path.basename(command[0]) or command[0],
        credentials=node_credentials,
        journal=Path(
            given.journal
            or environ.get(credentials.JOURNAL_VARIABLE)
            or _default_journal(node_credentials.node, environ)
        ),
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
        bandwidth=bandwidth,
    )


def make_parser() -> argparse.ArgumentParser:
    """The options, without the command."""
    parser = _Parser(
        prog="steward run",
        usage="steward run [options] -- COMMAND [ARGUMENT …]",
        description=_ABOUT,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_identity(parser.add_argument_group("identity"))
    _add_supervision(parser.add_argument_group("supervision"))
    _add_event_options(parser.add_argument_group("events"))
    parser.add_argument(
        "--pass-notify", action="store_true",
        help="leave NOTIFY_SOCKET of systemd to the program, instead of notifying systemd",
    )  # fmt: skip
    return parser


def _add_identity(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--node", metavar="N", help="the node; default: the node of the credentials")
    group.add_argument(
        "--process", metavar="P", help="the process name of its events; default: the name of the command"
    )
    group.add_argument(
        "--credentials", metavar="FILE",
        help="the node's credentials; default: STEWARD_NODE_CREDENTIALS names the file, or"
        " STEWARD_NODE_CREDENTIALS_JSON holds its contents",
    )  # fmt: skip
    group.add_argument(
        "--journal", metavar="FILE",
        help="the file that holds events until they are sent; programs of a node may share it; default:"
        " STEWARD_NODE_JOURNAL, else ~/.local/state/steward/<node>.journal",
    )  # fmt: skip


def _add_supervision(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--restart", choices=[each.value for each in Restart], default=Restart.TEMPORARY.value,
        help="permanent: always start again; transient: after a failure; temporary: never (the default)",
    )  # fmt: skip
    group.add_argument(
        "--ask", action="store_true",
        help="after a failure, wait for a decision: continue (as --restart says), kill (start again) or stop",
    )  # fmt: skip
    group.add_argument(
        "--deadline", metavar="S", type=_deadline, help="seconds after which --on-deadline applies to an incident"
    )
    group.add_argument(
        "--on-deadline", choices=[each.value for each in OnDeadline],
        help="escalate: mark the incident and go on waiting (the default); or the decision",
    )  # fmt: skip
    group.add_argument(
        "--when-isolated", choices=[each.value for each in isolation.ACTIONS],
        help="the decision if the error kernel was not heard from since before the deadline; default: none",
    )  # fmt: skip
    group.add_argument(
        "--isolated-grace", metavar="S", type=_grace,
        help=f"seconds from the deadline until --when-isolated applies; default {isolation.GRACE_S:g}",
    )  # fmt: skip
    group.add_argument(
        "--grace", metavar="S", type=_grace, default=GRACE_S,
        help=f"seconds between asking the program to end and killing it; default {GRACE_S:g}",
    )  # fmt: skip


def _add_event_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tag", metavar="NAME=VALUE", type=_tag, action="append", default=[], help="may be repeated")
    group.add_argument(
        "--stderr-lines", metavar="N", type=_lines, default=30,
        help="how many of the last lines of standard error; 0: the program gets our standard error itself. Default 30",
    )  # fmt: skip
    group.add_argument(
        "--bandwidth", metavar="BYTES", type=_bandwidth,
        help="send with at most so many bytes a second, incidents first; default: STEWARD_NODE_BANDWIDTH,"
        " else no limit",
    )  # fmt: skip
    group.add_argument("--hide-arguments", action="store_true", help="report the command without its arguments")


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    parser = list(argv)
    if "--" not in parser:
        return parser, []
    at = parser.index("--")
    return parser[:at], parser[at + 1 :]


def _default_journal(node: str, environ: Mapping[str, str]) -> Path:
    state = environ.get("XDG_STATE_HOME")
    # A user without a home (in containers): not below the working directory.
    home = "/" if os.path.expanduser("~") == "~" else os.path.expanduser("~")
    return (Path(state) if state else Path(home, ".local", "state")) / "steward" / f"{node}.journal"


def _grace(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return number


def _deadline(text: str) -> float:
    number = float(text)
    if not 0 < number <= DEADLINE_MAX_S:
        raise argparse.ArgumentTypeError(f"a deadline is more than 0 and at most {DEADLINE_MAX_S} seconds")
    return number


def _bandwidth(text: str) -> float:
    try:
        return credentials.check_bandwidth(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


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
