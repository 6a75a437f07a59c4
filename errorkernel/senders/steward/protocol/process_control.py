"""How a process of a Steward or ctrl node is listed, stopped, started and killed: what to send next, as a function.

Such a node acknowledges that it received a message, and answers with a text of its own, later or never. So nothing is
known of it but what has been asked of it and what came back: the *lines* of an action, each of them one message and its
result. ``next_step`` looks at all lines and says what to send now, or how it ended. It remembers nothing else; whoever
carries it out can be replaced between any two lines.

What it keeps to:

* The list comes first, and again after every message whose effect is not certain. So a stop or a start is never sent
  twice without a look in between, and a start never while the process is listed: a node would then have it twice. (A
  node that begins anew between that list and the start has it twice all the same; that cannot be seen from here.)
* A process is replaced when it is listed, and was seen to be gone or has another number. Numbers count up while a node
  lives; 0 is none.
* What cannot be found out is not called done, and not called failed: it is ``unclear``, and a person has to look.
"""

import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

TRIES = 2
"""How often a stop, or a start, is sent at most."""
LISTS = 4
"""How often a list is asked for in a row before the node counts as silent."""
STEP_TIMEOUT_S = 10.0
"""How long a reply is waited for."""
PAUSE_S = 5.0
"""Between two lists where the first one found nobody, or nothing that could be read: a node may be starting."""
LINES_MAX = 2 * TRIES + (2 * TRIES + 1) * LISTS
"""An action has ended after so many lines, whatever comes back."""

_STOPPED = re.compile(r"info: OpProcessStop: process stopped id: ")
_NOT_FOUND = re.compile(r"error: OpProcessStop: did not find process to stop: ")
_STARTED = re.compile(r"info: OpProcessStart: started id: ")


class Plan(StrEnum):
    """What is wanted. ``kill`` is a stop and a start."""

    LIST = "list"
    STOP = "stop"
    START = "start"
    KILL = "kill"


class Ask(StrEnum):
    """What is sent."""

    LIST = "list"
    STOP = "stop"
    START = "start"


class Result(StrEnum):
    """What came back. ``absent``: the broker says that nobody listens, so nothing was received. ``silent``: no reply
    in time, or we were not there to hear it. ``garbled``: a reply that says nothing we know."""

    LISTED = "listed"
    STOPPED = "stopped"
    NOT_FOUND = "not found"
    STARTED = "started"
    ABSENT = "absent"
    SILENT = "silent"
    GARBLED = "garbled"


_SAID = (Result.STOPPED, Result.NOT_FOUND, Result.STARTED)


class Line(msgspec.Struct, frozen=True):
    """One message and its result. ``numbers``: of the process, where it was listed; empty where it was not."""

    ask: Ask
    result: Result
    numbers: tuple[int, ...] = ()

    @property
    def shows_it_gone(self) -> bool:
        return self.result is Result.LISTED and not self.numbers


class End(StrEnum):
    DONE = "done"
    FAILED = "failed"
    UNCLEAR = "unclear"


class Send(msgspec.Struct, frozen=True):
    """Send this, ``pause_s`` from now."""

    ask: Ask
    pause_s: float = 0.0


class Ended(msgspec.Struct, frozen=True):
    """``said``: one sentence for the person who wanted it."""

    end: End
    said: str


def understand(ask: Ask, text: str) -> Result:
    """What the reply to a stop or a start says. A reply to a list is understood by its lines."""
    if ask is Ask.STOP and _STOPPED.match(text):
        return Result.STOPPED
    if ask is Ask.STOP and _NOT_FOUND.match(text):
        return Result.NOT_FOUND
    if ask is Ask.START and _STARTED.match(text):
        return Result.STARTED
    return Result.GARBLED


def next_step(plan: Plan, lines: Sequence[Line]) -> Send | Ended:
    """What to send after ``lines``, the oldest first, or how the action has ended."""
    if not lines:
        return Send(Ask.LIST)
    last = lines[-1]
    if last.ask is not Ask.LIST:
        # Where a kill's stop is certain, the start follows at once: nobody is served meanwhile.
        if plan is Plan.KILL and last.result is Result.STOPPED:
            return Send(Ask.START)
        return Send(Ask.LIST, _pause(last))
    if last.result is not Result.LISTED:
        return _list_again(lines)
    if plan is Plan.LIST:
        return Ended(End.DONE, "The node has told its processes.")
    return _seen_running(plan, lines) if last.numbers else _seen_gone(plan, lines)


def _list_again(lines: Sequence[Line]) -> Send | Ended:
    """The last list brought nothing."""
    in_a_row = 0
    for line in reversed(lines):
        if line.ask is not Ask.LIST or line.result is Result.LISTED:
            break
        in_a_row += 1
    if in_a_row < LISTS:
        return Send(Ask.LIST, _pause(lines[-1]))
    why = {
        Result.ABSENT: "The node is not connected to the broker",
        Result.GARBLED: "The node answers with what is no list of processes",
    }.get(lines[-1].result, "The node does not answer")
    if not any(map(_arrived, lines)):
        return Ended(End.FAILED, f"{why}. Nothing was changed.")
    said = next((f" It had said: {line.result}." for line in reversed(lines) if line.result in _SAID), "")
    return Ended(End.UNCLEAR, f"{why}: nobody knows what became of the process.{said}")


def _pause(last: Line) -> float:
    return PAUSE_S if last.result in (Result.ABSENT, Result.GARBLED) else 0.0


def _seen_running(plan: Plan, lines: Sequence[Line]) -> Send | Ended:
    """The last list shows the process."""
    if plan is Plan.START:
        if any(map(_arrived, lines)):
            return Ended(End.DONE, "The process was started, and the node lists it.")
        return Ended(End.FAILED, "The process runs already: a second start would double it. Nothing was changed.")
    if plan is Plan.KILL and was_replaced(lines):
        return Ended(End.DONE, "The process was stopped and started, and the node lists it.")
    if _count(lines, Ask.STOP) < TRIES:
        return Send(Ask.STOP)
    return Ended(End.FAILED, "The node lists the process still: it was not stopped.")


def _seen_gone(plan: Plan, lines: Sequence[Line]) -> Send | Ended:
    """The last list does not show the process."""
    stopped = any(line.ask is Ask.STOP and _arrived(line) for line in lines)
    if plan is Plan.STOP:
        if stopped:
            return Ended(End.DONE, "The process was stopped, and the node lists it no longer.")
        return Ended(End.DONE, "The process is not running. Nothing was changed.")
    if plan is Plan.KILL and not any(line.ask is Ask.STOP for line in lines):
        return Ended(End.FAILED, "The node does not list the process. Nothing was changed.")
    if _count(lines, Ask.START) < TRIES:
        return Send(Ask.START)
    if stopped:
        return Ended(End.FAILED, "The process was stopped and does not start again: it is not running now.")
    return Ended(End.FAILED, "The process does not start: it is not running.")


def was_replaced(lines: Sequence[Line]) -> bool:
    """The process that is listed last is not the one that was listed first."""
    listed = [line for line in lines if line.result is Result.LISTED]
    if len(listed) < 2 or not listed[-1].numbers:
        return False
    if any(line.shows_it_gone for line in listed):
        return True
    if any(line.result is Result.STOPPED for line in lines) and any(line.ask is Ask.START for line in lines):
        return True
    before, after = set(listed[0].numbers), set(listed[-1].numbers)
    return 0 not in before | after and not before & after


def _arrived(line: Line) -> bool:
    """It may have changed something."""
    return line.ask is not Ask.LIST and line.result is not Result.ABSENT


def _count(lines: Sequence[Line], ask: Ask) -> int:
    return sum(line.ask is ask for line in lines)
