"""The immutable tree of a query.

``str(tree)`` is the shortest query for a tree, so it stays within the limits of the original. It parses back to the
same tree.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from errorkernel.domain.query.fields import is_name
from errorkernel.domain.values import LEVEL_RANK, EventType

BLANKS = " \t\r\n\v\f\xa0"
"""Separators of terms. The last is the no-break space, which some keyboards type unnoticed."""
BARE_SPECIAL = frozenset('()"*')
"""Characters that a backslash escapes outside quotes, besides itself. Inside quotes: the quote and itself only."""
_QUOTED_SPECIAL = frozenset('"')


def _escaped(text: str, special: frozenset[str]) -> str:
    """``text`` with the necessary backslashes; a backslash is escaped only where it would escape."""
    out = []
    for index, char in enumerate(text):
        following = text[index + 1] if index + 1 < len(text) else ""
        if char in special or (char == "\\" and (following in special or following in ("", "\\"))):
            out.append("\\")
        out.append(char)
    return "".join(out)


def _quoted(part: str) -> str:
    return f'"{_escaped(part, _QUOTED_SPECIAL)}"'


def _bare_or_quoted(part: str) -> str:
    if any(char in BLANKS for char in part):
        return _quoted(part)
    return min(_escaped(part, BARE_SPECIAL), _quoted(part), key=len)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value split at ``*``: one part is a literal, ``("ship", "")`` is ``ship*``.

    A lone star means "is there, is not empty"; the empty literal means "is empty".
    """

    parts: tuple[str, ...]

    @property
    def literal(self) -> bool:
        return len(self.parts) == 1

    @property
    def filled(self) -> bool:
        return self.parts == ("", "")

    @property
    def empty(self) -> bool:
        return self.parts == ("",)

    def spelled(self, *, as_word: bool) -> str:
        """Its shortest text. ``as_word``: without a field, so it must not look like an operator or a field."""
        bare = ["" if part == "" else _bare_or_quoted(part) for part in self.parts]
        if self.empty or (as_word and _means_more("*".join(bare))):
            bare[0] = _quoted(self.parts[0])
        return "*".join(bare)


def spread(field: str | None, pattern: Pattern) -> tuple[str, ...]:
    """The parts to match in ``field``: text and bare words match anywhere, names completely."""
    if is_name(field) or pattern.filled or pattern.empty:
        return pattern.parts
    start = () if pattern.parts[0] == "" else ("",)
    end = () if pattern.parts[-1] == "" else ("",)
    return (*start, *pattern.parts, *end)


@dataclass(frozen=True, slots=True)
class Text:
    """A text field matches ``pattern``. ``field`` None: a bare word, searched in text and kind."""

    field: str | None
    pattern: Pattern

    def __str__(self) -> str:
        spelled = self.pattern.spelled(as_word=self.field is None)
        return spelled if self.field is None else f"{self.field}:{spelled}"


@dataclass(frozen=True, slots=True)
class Compare:
    """A number compares with ``value``; ``field`` is level (by rank), repeat, consecutive or problem; ``op`` one of
    = < <= > >=."""

    field: str
    op: str
    value: int

    def __str__(self) -> str:
        value = LEVELS[self.value] if self.field == "level" else str(self.value)
        return f"{self.field}{':' if self.op == '=' else self.op}{value}"


@dataclass(frozen=True, slots=True)
class OfType:
    type: EventType

    def __str__(self) -> str:
        return f"type:{self.type.value}"


@dataclass(frozen=True, slots=True)
class Identity:
    """The event with this id, or the event of this incident. ``value`` None (``incident:*``): of any incident."""

    field: str
    value: UUID | None

    def __str__(self) -> str:
        return f"{self.field}:{self.value or '*'}"


@dataclass(frozen=True, slots=True)
class Time:
    """Received since or before (``until``) a UTC time or a number of seconds ago."""

    field: str
    at: datetime | int

    def moment(self, now: datetime) -> datetime:
        return self.at if isinstance(self.at, datetime) else now - timedelta(seconds=self.at)

    def __str__(self) -> str:
        return f"{self.field}:{_spelled_ago(self.at) if isinstance(self.at, int) else _spelled_time(self.at)}"


@dataclass(frozen=True, slots=True)
class Not:
    part: "Tree"

    def __str__(self) -> str:
        return f"-({self.part})" if isinstance(self.part, And | Or) else f"-{self.part}"


@dataclass(frozen=True, slots=True)
class And:
    """All of ``parts``; without parts everything (the empty query)."""

    parts: tuple["Tree", ...]

    def __str__(self) -> str:
        return " ".join(f"({part})" if isinstance(part, Or) else str(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Tree", ...]

    def __str__(self) -> str:
        return " OR ".join(map(str, self.parts))


Term: TypeAlias = Text | Compare | OfType | Identity | Time
Tree: TypeAlias = And | Or | Not | Text | Compare | OfType | Identity | Time
EVERYTHING = And(())

AGO_UNITS = {"d": 86400, "w": 7 * 86400, "h": 3600, "m": 60, "s": 1}
LEVELS = list(LEVEL_RANK)


def _spelled_ago(seconds: int) -> str:
    ways = [f"{seconds // size}{unit}" for unit, size in AGO_UNITS.items() if seconds % size == 0]
    return min(ways, key=len)


def _spelled_time(at: datetime) -> str:
    date, clock = at.strftime("%Y-%m-%d").rjust(10, "0"), at.strftime("T%H:%M")
    if at.microsecond:
        clock = at.strftime("T%H:%M:%S.%f").rstrip("0")
    elif at.second:
        clock = at.strftime("T%H:%M:%S")
    return date if clock == "T00:00" else date + clock


FIELD = re.compile(r"([A-Za-z_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?)(>=|<=|!=|[:=<>])")
KEYWORD = re.compile(rf"(?:OR|AND|NOT)(?=[{BLANKS}()]|\Z)")


def _means_more(bare: str) -> bool:
    """Whether this word without quotes would parse as something else."""
    return bool((bare[0] == "-" and bare != "-") or bare[0] in ":=<>" or FIELD.match(bare) or KEYWORD.match(bare))
