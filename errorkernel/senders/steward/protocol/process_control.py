"""Decides the next message when a process of a Steward/ctrl node is listed, stopped, started or killed.

Such a node acknowledges a message, and replies with a text later or never. The state of an action is therefore its
*lines*, each with one message and its result. ``next_step`` returns the next message or the result from all lines. It
has no other state, so another kernel can continue after any line.

Rules:

* The list comes first, and again after every message whose effect is not certain. So a stop or a start is never sent
twice without a list in between, and a start never while the process is listed: the node would run it twice. (A node
that restarts between the list and the start runs it twice all the same, which cannot be detected.) * A process is
replaced when it is listed, and was seen to be gone or has another number. Numbers grow while a node runs; 0 is none. *
An unknown result is ``unclear``, neither done nor failed: a person must check it.
"""

import re
from collections.abc import Sequence

import msgspec

from errorkernel.domain.process_actions import ActionKind, ActionOutcome, RequestKind, RequestResult

TRIES = 2
"""How often a stop, or a start, is sent at most."""
LISTS = 4
"""Consecutive requests for a list before the node counts as silent."""
STEP_TIMEOUT_S = 10.0
"""Wait for a reply."""
PAUSE_S = 5.0
"""Pause after a list without a usable reply: the node may be starting."""

_STOPPED = re.compile(r"info: OpProcessStop: process stopped id: ")
_NOT_FOUND = re.compile(r"error: OpProcessStop: did not find process to stop: ")
_STARTED = re.compile(r"info: OpProcessStart: started id: ")


_REPORTED = (RequestResult.STOPPED, RequestResult.NOT_FOUND, RequestResult.STARTED)


class Line(msgspec.Struct, frozen=True):
    """One message and its result. ``numbers``: of the process, if it was listed; else empty."""

    ask: RequestKind
    result: RequestResult
    numbers: tuple[int, ...] = ()

    @property
    def shows_it_gone(self) -> bool:
        return self.result is RequestResult.LISTED and not self.numbers


class Send(msgspec.Struct, frozen=True):
    """Send this, ``pause_s`` from now."""

    ask: RequestKind
    pause_s: float = 0.0


class Ended(msgspec.Struct, frozen=True):
    """``summary``: one sentence for the operator."""

    outcome: ActionOutcome
    summary: str


def understand(ask: RequestKind, text: str) -> RequestResult:
    """The result in the reply to a stop or a start. A reply to a list is evaluated by its lines."""
    if ask is RequestKind.STOP and _STOPPED.match(text):
        return RequestResult.STOPPED
    if ask is RequestKind.STOP and _NOT_FOUND.match(text):
        return RequestResult.NOT_FOUND
    if ask is RequestKind.START and _STARTED.match(text):
        return RequestResult.STARTED
    return RequestResult.GARBLED


def next_step(plan: ActionKind, lines: Sequence[Line]) -> Send | Ended:
    """What to send after ``lines``, the oldest first, or how the action has ended."""
    if not lines:
        return Send(RequestKind.LIST)
    last = lines[-1]
    if last.result is RequestResult.SEVERAL:
        return _several(lines)
    if last.ask is not RequestKind.LIST:
        # After the certain stop of a kill the start follows at once, because the process is missing meanwhile.
        if plan is ActionKind.KILL and last.result is RequestResult.STOPPED:
            return Send(RequestKind.START)
        return Send(RequestKind.LIST, _pause(last))
    if last.result is not RequestResult.LISTED:
        return _list_again(lines)
    if plan is ActionKind.LIST:
        return Ended(ActionOutcome.DONE, "The node has told its processes.")
    return _seen_running(plan, lines) if last.numbers else _seen_gone(plan, lines)


def _several(lines: Sequence[Line]) -> Ended:
    """Whatever is sent under this name, more than one program does it."""
    why = "More than one program replies under this node's name. Give each a name of its own."
    if any(map(_arrived, lines)):
        return Ended(ActionOutcome.UNCLEAR, f"{why} Each may have carried out the earlier request.")
    return Ended(ActionOutcome.FAILED, f"{why} Nothing was changed.")


def _list_again(lines: Sequence[Line]) -> Send | Ended:
    """After a list without a result."""
    in_a_row = 0
    for line in reversed(lines):
        if line.ask is not RequestKind.LIST or line.result is RequestResult.LISTED:
            break
        in_a_row += 1
    if in_a_row < LISTS:
        return Send(RequestKind.LIST, _pause(lines[-1]))
    why = {
        RequestResult.ABSENT: "The node is not connected to the broker",
        RequestResult.GARBLED: "The node answers with what is no list of processes",
    }.get(lines[-1].result, "The node does not answer")
    if not any(map(_arrived, lines)):
        return Ended(ActionOutcome.FAILED, f"{why}. Nothing was changed.")
    reported = next((line.result for line in reversed(lines) if line.result in _REPORTED), None)
    report = f" It had reported: {reported.replace('_', ' ')}." if reported else ""
    return Ended(ActionOutcome.UNCLEAR, f"{why}: nobody knows what became of the process.{report}")


def _pause(last: Line) -> float:
    return PAUSE_S if last.result in (RequestResult.ABSENT, RequestResult.GARBLED) else 0.0


def _seen_running(plan: ActionKind, lines: Sequence[Line]) -> Send | Ended:
    """After a list with the process."""
    if plan is ActionKind.START:
        if any(map(_arrived, lines)):
            return Ended(ActionOutcome.DONE, "The process was started, and the node lists it.")
        return Ended(
            ActionOutcome.FAILED, "The process runs already: a second start would double it. Nothing was changed."
        )
    if plan is ActionKind.KILL and was_replaced(lines):
        return Ended(ActionOutcome.DONE, "The process was stopped and started, and the node lists it.")
    if _count(lines, RequestKind.STOP) < TRIES:
        return Send(RequestKind.STOP)
    return Ended(ActionOutcome.FAILED, "The node lists the process still: it was not stopped.")


def _seen_gone(plan: ActionKind, lines: Sequence[Line]) -> Send | Ended:
    """After a list without the process."""
    stopped = any(line.ask is RequestKind.STOP and _arrived(line) for line in lines)
    if plan is ActionKind.STOP:
        if stopped:
            return Ended(ActionOutcome.DONE, "The process was stopped, and the node lists it no longer.")
        return Ended(ActionOutcome.DONE, "The process is not running. Nothing was changed.")
    if plan is ActionKind.KILL and not any(line.ask is RequestKind.STOP for line in lines):
        return Ended(ActionOutcome.FAILED, "The node does not list the process. Nothing was changed.")
    if _count(lines, RequestKind.START) < TRIES:
        return Send(RequestKind.START)
    if stopped:
        return Ended(ActionOutcome.FAILED, "The process was stopped and does not start again: it is not running now.")
    return Ended(ActionOutcome.FAILED, "The process does not start: it is not running.")


def was_replaced(lines: Sequence[Line]) -> bool:
    """Whether the process was replaced between the first and the last list."""
    listed = [line for line in lines if line.result is RequestResult.LISTED]
    if len(listed) < 2 or not listed[-1].numbers:
        return False
    if any(line.shows_it_gone for line in listed):
        return True
    if any(line.result is RequestResult.STOPPED for line in lines) and any(
        line.ask is RequestKind.START for line in lines
    ):
        return True
    before, after = set(listed[0].numbers), set(listed[-1].numbers)
    return 0 not in before | after and not before & after


def _arrived(line: Line) -> bool:
    """Whether it may have changed something."""
    return line.ask is not RequestKind.LIST and line.result is not RequestResult.ABSENT


def _count(lines: Sequence[Line], ask: RequestKind) -> int:
    return sum(line.ask is ask for line in lines)
