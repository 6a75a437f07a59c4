"""Edits of a query: chooses and removes values of a field, as the facets beside a list do.

A field is *chosen* by a term that all results must match: ``node:ship1``, several values joined by OR
(``(node:ship1 OR node:ship2)``), or a comparison of levels (``level>=error``). Other uses of a field stay unchanged.
"""

from collections.abc import Iterable

from errorkernel.domain.query.predicate import COMPARISONS
from errorkernel.domain.query.tree import LEVELS, And, Compare, OfType, Or, Pattern, Text, Time, Tree
from errorkernel.domain.values import EventType

ANY = "*"
"""The value of a field that only has to be there."""


def chosen(tree: Tree, field: str) -> list[str]:
    """The values of ``field`` that the query chooses; empty if it chooses none."""
    return [value for part in _parts(tree) for value in _values(part, field) or ()]


def without(tree: Tree, *fields: str) -> Tree:
    """The query without the terms that choose values of these fields."""
    return _all(part for part in _parts(tree) if not any(_values(part, field) is not None for field in fields))


def without_times(tree: Tree) -> Tree:
    """The query without the times that all results must match."""
    return _all(part for part in _parts(tree) if not isinstance(part, Time))


def times(tree: Tree) -> list[Time]:
    """The times that all results must match."""
    return [part for part in _parts(tree) if isinstance(part, Time)]


def toggled(tree: Tree, field: str, value: str) -> Tree:
    """The query that chooses ``value`` too, or no longer where it does."""
    values = chosen(tree, field)
    kept = [known for known in values if known != value] if value in values else [*values, value]
    rest = _parts(without(tree, field))
    return _all([*rest, _choice(field, kept)] if kept else rest)


def replaced(tree: Tree, field: str, value: str) -> Tree:
    """The query that chooses ``value`` alone, or nothing where it does."""
    rest = _parts(without(tree, field))
    return _all(rest) if chosen(tree, field) == [value] else _all([*rest, _term(field, value)])


def switched(tree: Tree, term: Tree) -> Tree:
    """The query with this term, or without it where all results must match it already."""
    parts = _parts(tree)
    return _all([part for part in parts if part != term] if term in parts else [*parts, term])


def has(tree: Tree, term: Tree) -> bool:
    """Whether all results must match this term."""
    return term in _parts(tree)


def _parts(tree: Tree) -> tuple[Tree, ...]:
    return tree.parts if isinstance(tree, And) else (tree,)


def _all(parts: Iterable[Tree]) -> Tree:
    kept = tuple(parts)
    return kept[0] if len(kept) == 1 else And(kept)


def _values(part: Tree, field: str) -> list[str] | None:
    """The values that one part chooses; None where it is not about the field alone."""
    match part:
        case Or(parts=parts):
            found = [_values(inner, field) for inner in parts]
            return None if None in found else [value for values in found for value in values or ()]
        case Text(field=name, pattern=pattern) if name == field and pattern.literal:
            return [pattern.parts[0]]
        case Text(field=name, pattern=pattern) if name == field and pattern.filled:
            return [ANY]
        case Compare(field="level", op=op, value=wanted) if field == "level":
            return [level for rank, level in enumerate(LEVELS) if COMPARISONS[op](rank, wanted)]
        case OfType(type=wanted) if field == "type":
            return [wanted.value]
        case _:
            return None


def _choice(field: str, values: list[str]) -> Tree:
    terms = [_term(field, value) for value in values]
    return terms[0] if len(terms) == 1 else Or(tuple(terms))


def _term(field: str, value: str) -> Tree:
    if field == "level":
        return Compare("level", "=", LEVELS.index(value))
    if field == "type":
        return OfType(EventType(value))
    return Text(field, Pattern(("", "")) if value == ANY else Pattern((value,)))
