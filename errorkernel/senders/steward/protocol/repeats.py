"""Distinguishes retransmissions from repeated failures, and folds the texts of one failure.

A node repeats a message byte for byte until it has seen an acknowledgement, every ``ACKTimeout`` seconds, so the digest
of a payload tells repetitions. Nodes that number their messages never send the same bytes for two occurrences. Those of
early 2022 do not number them, and their times have whole seconds: two failures in one second have the same bytes. But
such a node sends its next error only after the acknowledgement or the timeout of the one before. So a repetition
*before* the timeout is another occurrence, and a repetition at about the timeout is a retransmission.

While the link is down, the NATS client of such a node keeps each retransmission, and sends all of them within a
millisecond when it is back. So a repetition that arrives at once, but so late after the time in its text that the node
must have repeated it, is a retransmission as well, as often as the node can have repeated it.

One failure may also cause several different texts; these are folded by the keys of their templates.

Everything here is pure: times are arguments (seconds of any clock), earlier arrivals are given, memory is bounded.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import msgspec

from errorkernel.senders.steward.protocol.text_parser import Echo

EARLY_SHARE = 0.8
"""Share of the timeout before which a repetition is no retransmission; the rest is for the transit of message and
acknowledgement."""
ECHO_WINDOW_S = 30.0
"""A method's timeout is 10 s by default, and its second text follows it."""
REMEMBERED_MAX = 50_000
FLUSH_S = 1.0
"""Messages that a client kept while the link was down arrive within this, also on slow links."""
ZONE_STEP_S = 900.0
"""Time zones differ by multiples of 15 minutes."""
DAY_S = 86_400.0
CLOCK_OFF_S = 60.0
"""How far an unknown clock may be ahead."""


class Sending(msgspec.Struct, frozen=True):
    """Repetition settings in a payload. ``numbered``: its node gives each message a number."""

    ack_timeout_s: float
    retry_wait_s: float
    retries: int
    numbered: bool

    @property
    def interval_s(self) -> float:
        return max(self.ack_timeout_s, 0.0) + max(self.retry_wait_s, 0.0)

    @property
    def window_s(self) -> float:
        """How long retransmissions may arrive, plus one interval."""
        return max(self.interval_s * (max(self.retries, 0) + 2), 1.0)

    def was_flushed(self, seen: "Seen", late_s: float) -> bool:
        """Whether another copy that arrives ``late_s`` after its failure can be one that was kept in an outage. A node
        without an acknowledgement sends one copy per interval, so many of a failure, and then those of the next."""
        if late_s <= EARLY_SHARE * self.interval_s or self.interval_s == 0:
            return False
        return seen.copies < max(self.retries, 1) and seen.arrivals < 1 + int(late_s / self.interval_s)


class Seen(msgspec.Struct, frozen=True):
    """The last arrival of a payload; ``occurrence`` counts from 0 the failures that had these bytes, ``copies`` the
    arrivals of that one, and ``arrivals`` those of all."""

    occurrence: int
    at_s: float
    copies: int = 1
    arrivals: int = 1


class RepeatVerdict(msgspec.Struct, frozen=True):
    """``occurrence``: number of the reported failure, equal for its retransmissions."""

    retransmission: bool
    occurrence: int


def lateness_s(delay_s: float, other_delays_s: Iterable[float]) -> float:
    """The delay of a message in seconds. ``delay_s``: from the time in its text to its arrival; ``other_delays_s``: of
    earlier messages of its node.

    The node's clock has no time zone and may be wrong by a constant, which the smallest delay shows. Without other
    messages only the time zone is removed; more than a day is a wrong clock and shows nothing.
    """
    quickest = min(other_delays_s, default=None)
    if quickest is not None:
        return delay_s - quickest
    if abs(delay_s) > DAY_S:
        return 0.0
    return (delay_s + CLOCK_OFF_S) % ZONE_STEP_S - CLOCK_OFF_S


def judge(
    seen: Seen | None, sending: Sending, *, now_s: float, highest: int = -1, late_s: float = 0.0
) -> RepeatVerdict:
    """Whether a payload last ``seen`` like this is a retransmission or another failure.

    ``late_s``: how long it was on its way (``lateness_s``).

    ``highest``: the highest occurrence of any arrival within the window, also of later ones: with several kernels,
    payloads are not evaluated in their order of arrival.

    After the window it counts as the first occurrence, whose id the store finds if it still exists.
    """
    if seen is None:
        return RepeatVerdict(False, highest + 1)
    if sending.numbered:
        return RepeatVerdict(True, seen.occurrence)
    waited_s = now_s - seen.at_s
    if waited_s > sending.window_s:
        return RepeatVerdict(False, highest + 1)
    if waited_s <= FLUSH_S and sending.was_flushed(seen, late_s):
        return RepeatVerdict(True, seen.occurrence)
    if waited_s < EARLY_SHARE * sending.interval_s or sending.interval_s == 0:
        return RepeatVerdict(False, max(seen.occurrence, highest) + 1)
    return RepeatVerdict(True, seen.occurrence)


class FirstText(NamedTuple):
    """The first event of a failure with several texts; ``cause``: the parts of its fingerprint."""

    event: UUID
    cause: tuple[str, ...]


@dataclass(slots=True)
class _Made:
    """The texts of one failure: its first event with the parts of its fingerprint, and the roles of the later
    events."""

    event: UUID
    cause: tuple[str, ...]
    at_s: float
    roles: dict[str, UUID]


@dataclass(slots=True)
class Echoes:
    """Finds the earlier event of the same failure."""

    limit: int = REMEMBERED_MAX
    _made: OrderedDict[tuple[str, str], _Made] = field(default_factory=OrderedDict)

    def belongs_to(
        self, node: str, event: UUID, echoes: Iterable[Echo], *, now_s: float, cause: tuple[str, ...] = ()
    ) -> FirstText | None:
        """The earlier event of ``node`` with the same failure, or None. A repetition gets the same result.

        Texts of the same role are separate occurrences: only a new role is folded. ``cause``: the parts of the event's
        fingerprint, remembered if it is the first.
        """
        first: FirstText | None = None
        for echo in echoes:
            key = (node, echo.key)
            made = self._made.get(key)
            if made is None or not self._joins(made, event, echo.role, now_s):
                made = _Made(event, cause, now_s, {})
            made.roles[echo.role] = event
            self._made[key] = made
            self._made.move_to_end(key)
            if len(self._made) > self.limit:
                self._made.popitem(last=False)
            if made.event != event:
                first = first or FirstText(made.event, made.cause)
        return first

    @staticmethod
    def _joins(made: _Made, event: UUID, role: str, now_s: float) -> bool:
        if event in made.roles.values():
            return True
        return role not in made.roles and abs(now_s - made.at_s) <= ECHO_WINDOW_S
