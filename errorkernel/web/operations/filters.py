"""The parameters that narrow a list down, read strictly.

An unknown value, an empty one and a repeated parameter that takes one value are refused: the list would hold more than
was asked for. Parameters that take several values are repeated (``level=error&level=critical``); commas do the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import QueryDict

from errorkernel.domain.nearest import did_you_mean
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.domain.query.tree import Time
from errorkernel.domain.refusals import OperationRefused

NUMBER_MAX = 2**63 - 1
TIME_FORMAT = "steward-time"
"""Of a duration or a time of the search syntax, which JSON Schema has no word for."""
NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}

Apply = Callable[[QuerySet[Any], Any, datetime], QuerySet[Any]]
"""Gets the rows, the value and the time."""


@dataclass(frozen=True, slots=True)
class Filter:
    """``schema``: of one value. ``convert``: a text as the value; raises OperationRefused. ``apply`` gets a list of
    values where ``is_list``."""

    name: str
    description: str
    schema: dict[str, Any]
    apply: Apply
    convert: Callable[[str], Any] = str
    is_list: bool = False

    def read(self, given: QueryDict) -> Any:
        """Raises OperationRefused."""
        if not self.is_list:
            return self._value(single(given, self.name) or "")
        texts = [part for text in given.getlist(self.name) for part in text.split(",")]
        return [self._value(text) for text in texts]

    def _value(self, text: str) -> Any:
        if not text:
            raise OperationRefused(
                f"'{self.name}' is empty. Leave it out to get everything.", "invalid_parameter", self.name
            )
        return self.convert(text)


def column(name: str, path: str, description: str) -> Filter:
    """The rows whose column is what was given."""

    def apply(rows: QuerySet[Any], value: str, now: datetime) -> QuerySet[Any]:
        return rows.none() if "\0" in value else rows.filter(**{path: value})  # no database holds a NUL

    return Filter(name, description, {"type": "string", "minLength": 1}, apply)


def words(
    name: str, known: Iterable[str], description: str, apply: Apply, schema: dict[str, Any] | None = None
) -> Filter:
    """The rows of which something is one of these words; several can be given."""
    allowed = tuple(known)
    shape = schema or {"type": "string", "enum": list(allowed)}
    return Filter(name, description, shape, apply, lambda text: _read_word(name, text, allowed), is_list=True)


def number(name: str, description: str, apply: Apply) -> Filter:
    return Filter(name, description, NUMBER, apply, lambda text: parse_number(text, name))


def time(name: str, description: str, path: str) -> Filter:
    """A time as the search syntax has it: a duration back from now, or a time in UTC. ``path``: with its lookup."""

    def convert(text: str) -> Time:
        try:
            tree = parse(f"{name}:{text.strip()}")
        except QueryError:
            tree = None
        if not isinstance(tree, Time):
            raise OperationRefused(
                f"'{name}' must be a duration such as 2h or a time such as 2026-11-24T10:00, not {text[:40]!r}.",
                "invalid_parameter",
                name,
            )
        return tree

    def apply(rows: QuerySet[Any], value: Time, now: datetime) -> QuerySet[Any]:
        return rows.filter(**{path: value.moment(now)})

    return Filter(name, description, {"type": "string", "format": TIME_FORMAT}, apply, convert)


def single(given: QueryDict, name: str) -> str | None:
    """The parameter, None where it is not given. Raises OperationRefused where it is given twice."""
    values = given.getlist(name)
    if len(values) > 1:
        raise OperationRefused(f"'{name}' is given {len(values)} times.", "repeated_parameter", name)
    return values[0] if values else None


def read_number(given: QueryDict, name: str, least: int, most: int) -> int | None:
    """The whole number; None where it is not given. Raises OperationRefused."""
    text = single(given, name)
    if text is None:
        return None
    found = parse_number(text, name) if len(text) <= 19 else -1
    if not least <= found <= most:
        raise OperationRefused(
            f"'{name}' must be a whole number from {least} to {most}, not {text[:40]!r}.", "invalid_parameter", name
        )
    return found


def read_word(given: QueryDict, name: str, known: tuple[str, ...]) -> str | None:
    """One of the known words; None where it is not given. Raises OperationRefused."""
    text = single(given, name)
    return None if text is None else _read_word(name, text, known)


def parse_number(text: str, name: str) -> int:
    """Raises OperationRefused."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= NUMBER_MAX):
        raise OperationRefused(f"'{name}' must be a whole number, not {text[:40]!r}.", "invalid_parameter", name)
    return int(text)


def _read_word(name: str, text: str, known: tuple[str, ...]) -> str:
    if text in known:
        return text
    words = f"{', '.join(known[:-1])} or {known[-1]}" if known[1:] else known[0]
    hint = did_you_mean(text, known)
    raise OperationRefused(f"'{name}' must be {words}, not {text[:40]!r}.{hint}", "invalid_parameter", name)
