"""The same again: a retransmission, or the same failure once more? And which texts does one failure make?

A node repeats a message byte for byte until it has seen an acknowledgement, every ``ACKTimeout`` seconds, so the
digest of a payload tells repetitions. Nodes that number their messages never send the same bytes for two occurrences.
Those of early 2022 do not, and their clock has whole seconds: two failures in one second are the same bytes. But such
a node sends its next error only after the acknowledgement or the timeout of the one before. So what comes again
*before* the timeout is another occurrence, and what comes again at about the timeout is a retransmission.

One failure may also make several different texts, a moment apart; these are folded by the keys that the text gives.

Everything here is pure: times are arguments (seconds on any one clock), what was before is given, memory is bounded.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from errorkernel.senders.steward.protocol.text_parser import Echo

EARLY_SHARE = 0.8
"""Of the timeout: what comes sooner is no retransmission. Room for the ways of a message and its acknowledgement."""
ECHO_WINDOW_S = 30.0
"""A method's timeout is 10 s by default, and its second text comes when that is over."""
REMEMBERED_MAX = 50_000


class Sending(msgspec.Struct, frozen=True):
    """What a payload says of its own repetition. ``numbered``: its node gives each message a number."""

    ack_timeout_s: float
    retry_wait_s: float
    retries: int
    numbered: bool

    @property
    def interval_s(self) -> float:
        return max(self.ack_timeout_s, 0.0) + max(self.retry_wait_s, 0.0)

    @property
    def window_s(self) -> float:
        """How long retransmissions may come, with one interval to spare; a clock of whole seconds has at least one."""
        return max(self.interval_s * (max(self.retries, 0) + 2), 1.0)


class Seen(msgspec.Struct, frozen=True):
    """The last arrival of some bytes; ``occurrence`` counts from 0 the failures that had these bytes."""

    occurrence: int
    at_s: float


class RepeatVerdict(msgspec.Struct, frozen=True):
    """``occurrence`` is that of the failure that the payload reports, so it is the same for its retransmissions."""

    retransmission: bool
    occurrence: int


def judge(seen: Seen | None, sending: Sending, *, now_s: float, highest: int = -1) -> RepeatVerdict:
    """Whether a payload that was last ``seen`` so is the same failure or another one.

    ``highest``: the highest occurrence of any arrival within the window, also of later ones: where several kernels
    judge, payloads are not judged in the order in which they came.

    Beyond the window nothing can be told; then it counts as the first occurrence, whose id the store knows if it is
    still there.
    """
    if seen is None:
        return RepeatVerdict(False, highest + 1)
    if sending.numbered:
        return RepeatVerdict(True, seen.occurrence)
    waited_s = now_s - seen.at_s
    if waited_s > sending.window_s:
        return RepeatVerdict(False, highest + 1)
    if waited_s < EARLY_SHARE * sending.interval_s or sending.interval_s == 0:
        return RepeatVerdict(False, max(seen.occurrence, highest) + 1)
    return RepeatVerdict(True, seen.occurrence)


@dataclass(slots=True)
class _Made:
    """What one failure has made so far: its first event, and the role of each event since."""

    event: UUID
    at_s: float
    roles: dict[str, UUID]


@dataclass(slots=True)
class Echoes:
    """Tells which event another one belongs to, because one failure made both."""

    limit: int = REMEMBERED_MAX
    _made: OrderedDict[tuple[str, str], _Made] = field(default_factory=OrderedDict)

    def belongs_to(self, node: str, event: UUID, echoes: Iterable[Echo], *, now_s: float) -> UUID | None:
        """The earlier event of ``node`` that the same failure made, or None. A repetition gets the same answer.

        Texts of one role are occurrences of their own: only a role that the failure has not had is folded.
        """
        first: UUID | None = None
        for echo in echoes:
            key = (node, echo.key)
            made = self._made.get(key)
            if made is None or not self._joins(made, event, echo.role, now_s):
                made = _Made(event, now_s, {})
            made.roles[echo.role] = event
            self._made[key] = made
            self._made.move_to_end(key)
            if len(self._made) > self.limit:
                self._made.popitem(last=False)
            if made.event != event:
                first = first or made.event
        return first

    @staticmethod
    def _joins(made: _Made, event: UUID, role: str, now_s: float) -> bool:
        if event in made.roles.values():
            return True
        return role not in made.roles and abs(now_s - made.at_s) <= ECHO_WINDOW_S
