"""Whose turn it is to be stored: nodes take turns, incidents go ahead, and no event passes an earlier one of its own
process."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from errorkernel.kernel.batches import unpack
from errorkernel.kernel.fair_queue import EARLIER_EVENTS_MAX, FairQueue


@dataclass
class Message:
    """A delivery of the stream."""

    sequence: int
    subject: str
    data: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    stored_at: float = 0.0
    deliveries: int = 1

    @property
    def source(self) -> str:
        return f"EK_EVENTS:{self.sequence}"

    async def ack(self) -> None: ...
    async def nak(self, delay_s: float) -> None: ...
    async def term(self) -> None: ...


def event(sequence: int, node: str, process: str, kind: str = "error") -> Message:
    head = {"v": 1, "id": str(UUID(int=sequence)), "type": kind, "process": process, "error": {"text": "no"}}
    return Message(sequence, f"ek.evt.{node}", json.dumps(head).encode())


def outcome(sequence: int, node: str, incident: int) -> Message:
    return Message(sequence, f"ek.out.{node}.{UUID(int=incident)}")


def queue_of(*messages: Message) -> FairQueue:
    queue = FairQueue()
    for message in messages:
        queue.add(message)
    return queue


def taken(queue: FairQueue, limit: int = 1000) -> list[int]:
    return [delivery.sequence for delivery in queue.take(limit)]


def flood(count: int, node: str = "flood", first: int = 1) -> list[Message]:
    return [event(first + number, node, f"p{number % 3}") for number in range(count)]


def test_nodes_take_turns() -> None:
    queue = queue_of(*flood(1000), event(1001, "calm", "copy"), event(1002, "calm", "copy"), event(1003, "other", "x"))
    first = taken(queue, 10)
    assert {1001, 1002, 1003} < set(first)
    assert len(first) == 10
    assert taken(queue) == [number for number in range(1, 1001) if number not in first]
    assert not queue


def test_an_incident_goes_ahead_with_the_earlier_events_of_its_process_alone() -> None:
    before = [event(1001, "calm", "copy"), event(1002, "calm", "other"), event(1003, "calm", "copy")]
    queue = queue_of(*flood(1000), *before, event(1004, "calm", "copy", "action"), event(1005, "calm", "copy"))
    assert queue.has_urgent
    batch = taken(queue, 100)
    assert batch[:3] == [1001, 1003, 1004]
    assert len(batch) == 25  # a batch with an incident is a short one
    assert not queue.has_urgent


def test_an_incident_of_the_flooding_node_passes_its_other_processes() -> None:
    queue = queue_of(*flood(1000), event(1001, "flood", "calm", "action"))
    assert taken(queue, 100)[0] == 1001


def test_a_flood_of_incidents_leaves_the_others_their_turn() -> None:
    incidents = [event(number, "flood", f"p{number}", "action") for number in range(1, 1001)]
    queue = queue_of(*incidents, event(1001, "calm", "copy", "action"))
    assert 1001 in taken(queue, 10)


def test_an_incident_behind_a_flood_of_its_own_process_waits_for_it() -> None:
    count = EARLIER_EVENTS_MAX + 1
    events = [event(number, "flood", "copy") for number in range(1, count + 1)]
    queue = queue_of(*events, event(count + 1, "flood", "copy", "action"), event(count + 2, "calm", "x", "action"))
    assert taken(queue) == [count + 2, *range(1, count + 2)]


def test_an_event_that_cannot_be_read_lets_no_incident_of_its_node_pass() -> None:
    """It may be one of that process, which only the whole decoding can tell."""
    odd = Message(1, "ek.evt.ship1", b'\xef\xbb\xbf{"v": 1}')
    queue = queue_of(odd, event(2, "ship1", "copy", "action"), event(3, "ship2", "copy", "action"))
    assert taken(queue) == [3, 1, 2]


def test_an_outcome_passes_what_is_not_of_its_process() -> None:
    queue = queue_of(event(1, "calm", "copy", "action"))
    assert taken(queue) == [1]
    for message in (*flood(100, first=2), event(102, "calm", "other"), outcome(103, "calm", 1)):
        queue.add(message)
    assert taken(queue, 8)[0] == 103


def test_an_outcome_of_an_unknown_incident_passes_no_event_of_its_node() -> None:
    queue = queue_of(*flood(100), event(101, "calm", "other"), outcome(102, "calm", 7), outcome(103, "far", 7))
    assert taken(queue, 4)[0] == 103


def test_a_message_that_is_delivered_again_is_taken_once_and_in_its_place() -> None:
    queue = queue_of(event(2, "ship1", "copy"), event(3, "ship1", "copy"))
    again = event(2, "ship1", "copy")
    queue.add(again)
    queue.add(event(1, "ship1", "copy"))
    batch = queue.take(10)
    assert [delivery.sequence for delivery in batch] == [1, 2, 3]
    assert batch[1] is again, "its latest delivery is the one to acknowledge"


def test_an_incident_of_a_batch_takes_the_earlier_events_of_its_process_with_it() -> None:
    heads = [("copy", "error"), ("other", "error"), ("copy", "action"), ("copy", "error")]
    packed = b"\n".join(event(number, "ship1", *head).data for number, head in enumerate(heads))
    events, _ = unpack(Message(7, "ek.evt.ship1", packed, {"Content-Type": "application/x-ndjson"}))
    queue = queue_of(*events)  # type: ignore[arg-type]
    assert [delivery.source[-1] for delivery in queue.take(4)] == ["0", "2"]
    assert [delivery.source[-1] for delivery in queue.take(4)] == ["1", "3"]


KINDS = st.sampled_from(["error", "info", "action", "outcome", "odd"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("AB"), st.sampled_from("pq"), KINDS),
        st.integers(1, 8),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_event_ever_passes_an_earlier_one_of_its_process(steps: Sequence[tuple[str, str, str] | int]) -> None:
    queue, waiting, order = FairQueue(), {}, []
    for number, step in enumerate(steps, 1):
        if isinstance(step, int):
            order += _take(queue, step, waiting)
            continue
        node, process, kind = step
        if kind == "outcome":
            message = outcome(number, node, number)
        else:
            message = event(number, node, process, kind) if kind != "odd" else Message(number, f"ek.evt.{node}", b"{")
        waiting[number] = (node, process, kind)
        queue.add(message)
    while queue:
        order += _take(queue, 3, waiting)
    assert sorted(order) == [number for number, step in enumerate(steps, 1) if not isinstance(step, int)]


def _take(queue: FairQueue, limit: int, waiting: dict[int, tuple[str, str, str]]) -> list[int]:
    batch = taken(queue, limit)
    assert 1 <= len(batch) <= limit or not waiting
    for number in batch:
        node, process, kind = waiting.pop(number)
        if kind != "outcome":
            # An event that cannot be read may be of any process of its node.
            same = [
                earlier
                for earlier, (its_node, its_process, its_kind) in waiting.items()
                if its_node == node and its_kind != "outcome" and (its_process == process or "odd" in (kind, its_kind))
            ]
            assert not same or min(same) > number, (number, same)
    return batch
