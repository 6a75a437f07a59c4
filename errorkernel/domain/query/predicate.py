"""The query language: ``node:ship* level>=error text:"no such file" -kind:Timeout* since:2h``.

A query is parsed once into a small immutable tree. The stored search (``errorkernel.store.search`` makes a database
condition of it) and the live view (``compile_predicate``) share the tree, so each term must mean the same in both.
Three choices follow:

* Case is ignored for A–Z only, as in SQLite's LIKE; PostgreSQL and the predicate do the same. A filter that finds a row
  after a reload but not live (or the reverse) would be worse than one that is strict about "Ö".
* Every term is true or false of every event, never unknown: an event without a message has the method "", and a
  missing tag is "".
* The stack cannot be searched: a live event does not carry it.

Globs are matched piece by piece, not by a regular expression: no pattern can make a match slow. A query never reads
the clock: the caller gives the time from which ``since:2h`` counts.
"""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter, eq, ge, gt, le, lt
from typing import Any, Protocol, assert_never
from uuid import UUID

from errorkernel.domain.query.fields import TAG
from errorkernel.domain.query.tree import And, Compare, Identity, Not, OfType, Or, Text, Time, Tree, spread
from errorkernel.domain.values import LEVEL_RANK


class Row(Protocol):
    """The fields of a live event for filters. ``problem``: number of its problem; ``whole``: number of the problem that
    it is merged into, or the same; ``incident``: None or an id."""

    @property
    def id(self) -> UUID: ...
    @property
    def type(self) -> str: ...
    @property
    def level(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def process(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def message(self) -> dict[str, Any] | None: ...
    @property
    def release(self) -> str: ...
    @property
    def tags(self) -> dict[str, str]: ...
    @property
    def problem(self) -> int: ...
    @property
    def whole(self) -> int: ...
    @property
    def incident(self) -> UUID | None: ...
    @property
    def repeat(self) -> int: ...
    @property
    def received_at(self) -> datetime: ...


Predicate = Callable[[Row], bool]
COMPARISONS: dict[str, Callable[[int, int], bool]] = {"=": eq, ">=": ge, "<=": le, ">": gt, "<": lt}


def compile_predicate(tree: Tree, now: datetime) -> Predicate:
    """A fast test of one live event, true for exactly the events that the stored search with this ``now`` finds.

    ``now`` is timezone-aware and fixed: relative times count from it for as long as the predicate is used.
    """
    match tree:
        case And(parts=parts):
            return _all(tuple(compile_predicate(part, now) for part in parts))
        case Or(parts=parts):
            return _any(tuple(compile_predicate(part, now) for part in parts))
        case Not(part=part):
            inner = compile_predicate(part, now)
            return lambda row: not inner(row)
        case Text():
            return _text_predicate(tree)
        case Compare(field="problem", value=value):
            return lambda row: row.problem == value or row.whole == value
        case Compare(field=field, op=op, value=value):
            compare, number = COMPARISONS[op], _number_getter(field)
            return lambda row: compare(number(row), value)
        case OfType(type=wanted):
            return lambda row: row.type == wanted
        case Identity(field="id", value=wanted_id):
            return lambda row: row.id == wanted_id
        case Identity(value=None):
            return lambda row: row.incident is not None
        case Identity(value=wanted_id):
            return lambda row: row.incident == wanted_id
        case Time(field=field):
            moment = tree.moment(now)
            return (
                (lambda row: row.received_at >= moment) if field == "since" else (lambda row: row.received_at < moment)
            )
        case _:
            assert_never(tree)


def _all(parts: tuple[Predicate, ...]) -> Predicate:
    def holds(row: Row) -> bool:
        for part in parts:  # noqa: SIM110 - all() over a generator costs twice as much, and this runs per event and socket
            if not part(row):
                return False
        return True

    return holds


def _any(parts: tuple[Predicate, ...]) -> Predicate:
    def holds(row: Row) -> bool:
        for part in parts:  # noqa: SIM110 - as above
            if part(row):
                return True
        return False

    return holds


def _number_getter(field: str) -> Callable[[Row], int]:
    return (lambda row: LEVEL_RANK[row.level]) if field == "level" else attrgetter(field)


def _method(row: Row) -> str:
    return str((row.message or {}).get("method") or "")


def _text_predicate(term: Text) -> Predicate:
    like = matcher(spread(term.field, term.pattern))
    if term.field is None:
        return lambda row: like(row.text) or like(row.kind)
    if term.field.startswith(TAG):
        name = term.field.removeprefix(TAG)
        return lambda row: like(row.tags.get(name, ""))
    get: Callable[[Row], str] = _method if term.field == "method" else attrgetter(term.field)
    return lambda row: like(get(row))


def fold(text: str) -> str:
    """``text`` with A–Z in lower case and all other letters unchanged, as in SQLite's LIKE."""
    # bytes.lower() changes ASCII only, and in UTF-8 no byte of another letter looks like one.
    return (
        text.lower()
        if text.isascii()
        else text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
    )


def matcher(parts: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a text is these parts in this order, with anything between them; in time linear in the text."""
    if parts == ("", ""):
        return bool
    first, *middle = [fold(part) for part in parts]
    if not middle:
        return lambda text: fold(text) == first
    last = middle.pop()
    if not first and not last and len(middle) == 1:
        only = middle[0]
        return lambda text: only in fold(text)

    def like(text: str) -> bool:
        text = fold(text)
        at, end = len(first), len(text) - len(last)
        if at > end or not text.startswith(first) or not text.endswith(last):
            return False
        for part in middle:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return like
