"""What is sent to a Steward node, and when it is called done: against every way in which a node and a link behave."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errorkernel.domain.process_actions import ActionKind, ActionOutcome, RequestKind, RequestResult
from errorkernel.senders.steward.protocol.process_control import (
    LISTS,
    TRIES,
    Ended,
    Line,
    Send,
    next_step,
    understand,
)

LIST, STOP, START = RequestKind.LIST, RequestKind.STOP, RequestKind.START
LINES_MAX = 2 * TRIES + (2 * TRIES + 1) * LISTS
"""Of an action, however the node behaves."""
FATES = ["well", "absent", "request lost", "reply lost", "garbled", "node restarts before", "node restarts after"]


@dataclass
class Node:
    """A node by the book, behind a link that does what ``fates`` say. ``doubled``: it was started while it ran.

    Numbers count up while it lives and begin anew with it; it starts its process when it starts.
    """

    running: bool = True
    numbered: bool = True
    starts_on_its_own: bool = True
    number: int = 15
    highest: int = 15
    doubled: bool = False
    lives: int = 1
    stopped: int = 0
    applied: list[RequestKind] = field(default_factory=list)

    def answer(self, ask: RequestKind, fate: str) -> Line:
        if fate == "absent":
            return Line(ask, RequestResult.ABSENT)
        if fate == "request lost":
            return Line(ask, RequestResult.SILENT)
        doubled = self.doubled
        if fate == "node restarts before":
            self._restart()
        line = self._apply(ask)
        if fate == "node restarts before":
            # Between the list and this very start: nobody can tell, and the steps do not promise it.
            self.doubled = doubled
        if fate == "node restarts after":
            self._restart()
        if fate == "garbled":
            return Line(ask, RequestResult.GARBLED)
        return Line(ask, RequestResult.SILENT) if fate in ("reply lost", "node restarts after") else line

    def _restart(self) -> None:
        self.lives += 1
        self.running = self.starts_on_its_own
        self.number = self.highest = 15

    def _apply(self, ask: RequestKind) -> Line:
        self.applied.append(ask)
        if ask is LIST:
            shown = (self.number if self.numbered else 0,)
            return Line(LIST, RequestResult.LISTED, shown if self.running else ())
        if ask is STOP:
            was, self.running = self.running, False
            self.stopped += was
            return Line(STOP, RequestResult.STOPPED if was else RequestResult.NOT_FOUND)
        self.doubled |= self.running
        self.running = True
        self.highest += 1
        self.number = self.highest
        return Line(START, RequestResult.STARTED)


def carried_out(plan: ActionKind, node: Node, fates: list[str]) -> tuple[list[Line], Ended]:
    """Every line, and the end. After ``fates`` everything goes well."""
    lines: list[Line] = []
    while True:
        step = next_step(plan, lines)
        if isinstance(step, Ended):
            return lines, step
        fate = fates[len(lines)] if len(lines) < len(fates) else "well"
        lines.append(node.answer(step.ask, fate))
        assert len(lines) <= LINES_MAX


nodes = st.builds(Node, running=st.booleans(), numbered=st.booleans(), starts_on_its_own=st.booleans())
plans = st.sampled_from(ActionKind)
fates = st.lists(st.sampled_from(FATES), max_size=LINES_MAX)
anything = st.lists(
    st.one_of(
        st.builds(
            Line, st.just(LIST), st.just(RequestResult.LISTED), st.lists(st.integers(0, 3), max_size=2).map(tuple)
        ),
        st.builds(Line, st.sampled_from(RequestKind), st.sampled_from(RequestResult)),
    ),
    max_size=40,
)


def test_a_kill_is_list_stop_start_and_list() -> None:
    node = Node()
    lines, end = carried_out(ActionKind.KILL, node, [])
    assert [line.ask for line in lines] == [LIST, STOP, START, LIST]
    assert (end.outcome, node.number) == (ActionOutcome.DONE, 16)


@pytest.mark.parametrize(("plan", "running", "asks", "end"), [
    (ActionKind.LIST, True, [LIST], ActionOutcome.DONE),
    (ActionKind.STOP, True, [LIST, STOP, LIST], ActionOutcome.DONE),
    (ActionKind.STOP, False, [LIST], ActionOutcome.DONE),
    (ActionKind.START, False, [LIST, START, LIST], ActionOutcome.DONE),
    (ActionKind.START, True, [LIST], ActionOutcome.FAILED),
    (ActionKind.KILL, False, [LIST], ActionOutcome.FAILED),
])  # fmt: skip
def test_nothing_is_sent_that_is_not_needed(
    plan: ActionKind, running: bool, asks: list[RequestKind], end: ActionOutcome
) -> None:
    lines, ended = carried_out(plan, Node(running=running), [])
    assert ([line.ask for line in lines], ended.outcome) == (asks, end)


def test_a_stop_without_a_reply_is_looked_after_before_it_is_sent_again() -> None:
    lost, _ = carried_out(ActionKind.KILL, Node(), ["well", "request lost"])
    assert [line.ask for line in lost] == [LIST, STOP, LIST, STOP, START, LIST]
    done, _ = carried_out(ActionKind.KILL, Node(), ["well", "reply lost"])
    assert [line.ask for line in done] == [LIST, STOP, LIST, START, LIST]


def test_a_stop_that_finds_nothing_while_the_process_is_listed_is_followed_by_no_start() -> None:
    here, gone = Line(LIST, RequestResult.LISTED, (15,)), Line(STOP, RequestResult.NOT_FOUND)
    assert next_step(ActionKind.KILL, [here, gone]) == Send(LIST)
    assert next_step(ActionKind.KILL, [here, gone, here]) == Send(STOP)
    step = next_step(ActionKind.KILL, [here, gone, here, gone, here])
    assert isinstance(step, Ended)
    assert step.outcome is ActionOutcome.FAILED


def test_a_process_that_stays_away_is_said_to_be_so() -> None:
    here, gone = Line(LIST, RequestResult.LISTED, (15,)), Line(LIST, RequestResult.LISTED)
    start = Line(START, RequestResult.SILENT)
    step = next_step(ActionKind.KILL, [here, Line(STOP, RequestResult.STOPPED), start, gone, start, gone])
    assert step == Ended(
        ActionOutcome.FAILED, "The process was stopped and does not start again: it is not running now."
    )


def test_two_programs_under_one_name_end_an_action() -> None:
    several = Line(LIST, RequestResult.SEVERAL)
    for plan in ActionKind:
        ended = next_step(plan, [several])
        assert isinstance(ended, Ended)
        assert ended.outcome is ActionOutcome.FAILED
        assert ended.summary.endswith("Nothing was changed.")
    stopped = [Line(LIST, RequestResult.LISTED, (15,)), Line(STOP, RequestResult.SEVERAL)]
    ended = next_step(ActionKind.KILL, stopped)
    assert isinstance(ended, Ended)
    assert ended.outcome is ActionOutcome.UNCLEAR


def test_numbers_of_zero_tell_nothing() -> None:
    zero = Line(LIST, RequestResult.LISTED, (0,))
    assert next_step(ActionKind.KILL, [zero, Line(STOP, RequestResult.SILENT), zero]) == Send(STOP)
    step = next_step(
        ActionKind.KILL, [zero, Line(STOP, RequestResult.STOPPED), Line(START, RequestResult.STARTED), zero]
    )
    assert isinstance(step, Ended)
    assert step.outcome is ActionOutcome.DONE


@settings(max_examples=250)
@given(plans, nodes, fates)
def test_a_process_is_never_doubled_and_nothing_is_repeated_blindly(
    plan: ActionKind, node: Node, fates: list[str]
) -> None:
    lines, _ = carried_out(plan, node, fates)
    assert not node.doubled
    assert lines[0].ask is LIST
    for before, after in pairwise(lines):
        assert after.ask is LIST or before.ask is LIST or (before.result, after.ask) == (RequestResult.STOPPED, START)
        if before.ask is LIST and after.ask is not LIST:
            assert before.result is RequestResult.LISTED
    assert max(sum(line.ask is ask for line in lines) for ask in (STOP, START)) <= TRIES


@settings(max_examples=250)
@given(plans, nodes, fates)
def test_what_is_called_done_is_done(plan: ActionKind, node: Node, fates: list[str]) -> None:
    ran = node.running
    lines, end = carried_out(plan, node, fates)
    if end.outcome is not ActionOutcome.DONE or plan is ActionKind.LIST:
        return
    assert lines[-1].result is RequestResult.LISTED
    assert node.running == (plan is not ActionKind.STOP) or "restarts after" in fates[len(lines) - 1 : len(lines)]
    if plan is ActionKind.KILL and ran:
        assert node.stopped or node.lives > 1


@settings(max_examples=250)
@given(plans, nodes, fates)
def test_where_it_failed_without_a_change_nothing_was_changed(plan: ActionKind, node: Node, fates: list[str]) -> None:
    lines, end = carried_out(plan, node, fates)
    if end.summary.endswith("Nothing was changed."):
        assert not {STOP, START} & set(node.applied)
    if end.outcome is ActionOutcome.UNCLEAR:
        assert any(line.ask is not LIST and line.result is not RequestResult.ABSENT for line in lines)


@given(plans, anything)
def test_any_lines_whatever_lead_to_a_step_or_to_an_end(plan: ActionKind, lines: list[Line]) -> None:
    step = next_step(plan, lines)
    assert isinstance(step, Send | Ended)
    if isinstance(step, Send) and step.ask is START:
        assert lines[-1].result is RequestResult.STOPPED or (lines[-1].ask is LIST and not lines[-1].numbers)


@pytest.mark.parametrize(("ask", "text", "result"), [
    (STOP, "info: OpProcessStop: process stopped id: 15, method: {ship1 EventACK REQHttpGet 0x1} on: ship1", "stopped"),
    (STOP, "info: OpProcessStop: process stopped id: 14, method: {ship3 httpGet} on: ship3", "stopped"),
    (STOP, "error: OpProcessStop: did not find process to stop: {ship1 EventACK REQHttpGet 0x1} on ship1", "not_found"),
    (START, "info: OpProcessStart: started id: 23, subject: {ship1 EventACK REQHttpGet 0x1}: node: ship1", "started"),
    (START, "info: OpProcessStop: process stopped id: 15, method: {} on: ship1", "garbled"),
    (STOP, "", "garbled"),
])  # fmt: skip
def test_replies_are_understood(ask: RequestKind, text: str, result: str) -> None:
    assert understand(ask, text) == result
