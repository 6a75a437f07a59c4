"""Messages that wait to be stored, and whose turn it is: nodes take turns, incidents and outcomes go first.

No event is ever taken before an earlier one of its process, by the numbers of the stream. So an incident takes the
earlier events of its process with it. Pure: no I/O, no clock.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from errorkernel.broker.pull_consumer import Delivery
from errorkernel.kernel.batches import EventOfBatch
from errorkernel.protocol import json_codec, subjects
from errorkernel.protocol.errors import ProtocolError

EARLIER_EVENTS_MAX = 100
"""An incident with more earlier events of its process takes its turn like an event: they are a flood themselves."""
REMEMBERED_INCIDENTS = 10_000
_BLOCKED_MAX = 20


@dataclass(slots=True, eq=False)
class _Waiting:
    """``place``: its number in the stream, and in its batch. ``process``: None where it is not known. ``is_outcome``:
    later events of its process may pass it."""

    delivery: Delivery
    place: tuple[int, int]
    process: str | None
    is_urgent: bool
    is_outcome: bool
    is_taken: bool = False


class _NodeQueue:
    """The messages of one node, each list in the order of the stream. Taken ones stay in it until they are first."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.urgent: deque[_Waiting] = deque()
        self._of_process: dict[str, deque[_Waiting]] = {}
        self._of_unknown_process: deque[_Waiting] = deque()

    def add(self, message: _Waiting) -> None:
        _insert(self.waiting, message)
        if message.is_urgent:
            _insert(self.urgent, message)
        if message.is_outcome:
            return
        if message.process is None:
            _insert(self._of_unknown_process, message)
        else:
            _insert(self._of_process.setdefault(message.process, deque()), message)

    def next_urgent(self, room: int) -> list[_Waiting]:
        """An incident or outcome that may go ahead, behind the earlier events of its process; empty: there is none."""
        for count, message in enumerate(_untaken(self.urgent)):
            if count == _BLOCKED_MAX:
                break
            earlier = self._earlier(message, min(room - 1, EARLIER_EVENTS_MAX))
            if earlier is not None:
                return [*earlier, message]
        return []

    def _earlier(self, message: _Waiting, limit: int) -> list[_Waiting] | None:
        """The events that must go before it; None: too many, or it is not known which."""
        if message.process is None:
            first = next((event for event in _untaken(self.waiting) if not event.is_outcome), None)
            return [] if first is None or first.place >= message.place else None
        unknown = next(_untaken(self._of_unknown_process), None)
        if unknown is not None and unknown.place < message.place:
            return None
        earlier: list[_Waiting] = []
        for event in _untaken(self._of_process.get(message.process, deque())):
            if event.place >= message.place:
                break
            if len(earlier) == limit:
                return None
            earlier.append(event)
        return earlier

    def forget_taken(self, message: _Waiting) -> None:
        """Drop the list of its process when nothing of it waits."""
        if message.process is not None and not message.is_outcome:
            queue = self._of_process.get(message.process)
            if queue is not None and next(_untaken(queue), None) is None:
                del self._of_process[message.process]


class FairQueue:
    """``add`` arriving messages, ``take`` the next ones to store."""

    def __init__(self) -> None:
        self._held: dict[str, _Waiting] = {}
        self._nodes: dict[str, _NodeQueue] = {}
        self._turns: deque[str] = deque()
        self._processes: dict[str, str] = {}
        """Processes of the latest incidents, by their id as text: an outcome names only its incident."""

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, source: str) -> bool:
        return source in self._held

    @property
    def has_urgent(self) -> bool:
        return any(next(_untaken(queue.urgent), None) for queue in self._nodes.values())

    def add(self, delivery: Delivery) -> None:
        """Put it in its place. One that waits already is acknowledged by its latest delivery."""
        held = self._held.get(delivery.source)
        if held is not None:
            held.delivery = delivery
            return
        node, message = self._read(delivery)
        self._held[delivery.source] = message
        if node not in self._nodes:
            self._nodes[node] = _NodeQueue()
            self._turns.append(node)
        self._nodes[node].add(message)

    def take(self, limit: int) -> list[Delivery]:
        """At most ``limit`` messages, at least one if any waits.

        With an incident or outcome among them, they are fewer, so that it is stored soon.
        """
        taken = self._take_urgent(limit)
        room = limit if not taken else limit // 4
        taken += self._take_in_turns(room - len(taken))
        for node in [name for name, queue in self._nodes.items() if next(_untaken(queue.waiting), None) is None]:
            del self._nodes[node]
            self._turns.remove(node)
        return taken

    def _take_urgent(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        nodes = deque(self._nodes[name] for name in self._turns if self._nodes[name].urgent)
        while nodes and len(taken) < limit:
            queue = nodes.popleft()
            if group := queue.next_urgent(limit - len(taken)):
                taken += [self._taken(queue, message) for message in group]
                nodes.append(queue)
        return taken

    def _take_in_turns(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        nodes = deque(self._turns)
        while nodes and len(taken) < limit:
            share = max(1, (limit - len(taken)) // len(nodes))
            for _ in range(min(len(nodes), limit - len(taken))):
                queue = self._nodes[nodes[0]]
                messages = [message for message, _ in zip(_untaken(queue.waiting), range(share), strict=False)]
                taken += [self._taken(queue, message) for message in messages]
                if len(messages) < share:
                    nodes.popleft()
                else:
                    nodes.rotate(-1)
        self._turns.rotate(-1)
        return taken

    def _taken(self, queue: _NodeQueue, message: _Waiting) -> Delivery:
        message.is_taken = True
        queue.forget_taken(message)
        delivery = message.delivery
        del self._held[delivery.source]
        return delivery

    def _read(self, delivery: Delivery) -> tuple[str, _Waiting]:
        """Its node and its place. What is not ours to read becomes a rejected event, in the order of its node."""
        place = delivery.sequence, delivery.index if isinstance(delivery, EventOfBatch) else 0
        try:
            address = subjects.parse(delivery.subject)
        except ProtocolError:
            return "", _Waiting(delivery, place, None, False, False)
        if address.incident is not None:
            process = self._processes.get(str(address.incident))
            return address.node, _Waiting(delivery, place, process, True, True)
        head = json_codec.read_head(delivery.data)
        if head is None:
            return address.node, _Waiting(delivery, place, None, False, False)
        is_incident = head.type == "action"
        if is_incident:
            self._remember(head.id.lower(), head.process)
        return address.node, _Waiting(delivery, place, head.process, is_incident, False)

    def _remember(self, incident: str, process: str) -> None:
        self._processes[incident] = process
        if len(self._processes) > REMEMBERED_INCIDENTS:
            del self._processes[next(iter(self._processes))]


def _untaken(queue: deque[_Waiting]) -> Iterator[_Waiting]:
    """Those that still wait, in their order. Those that were taken are dropped from the front."""
    while queue and queue[0].is_taken:
        queue.popleft()
    return (message for message in queue if not message.is_taken)


def _insert(queue: deque[_Waiting], message: _Waiting) -> None:
    """Put it where it belongs; nearly always that is the end."""
    at = len(queue)
    while at and queue[at - 1].place > message.place:
        at -= 1
    queue.insert(at, message)
