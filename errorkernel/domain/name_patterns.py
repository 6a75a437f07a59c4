"""Names that differ by their numbers alone: ``ingest-07`` and ``ingest-11`` are ``ingest-*``."""

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"\d+")
OTHERS = "*"
"""The group of the names that are alone with their pattern."""


def pattern_of(name: str) -> str:
    return _NUMBER.sub("*", name)


def by_pattern(names: Iterable[str]) -> dict[str, list[str]]:
    """Pattern → its names, at least two of them; OTHERS → the names that are left, if any."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(pattern_of(name), []).append(name)
    groups = {pattern: members for pattern, members in found.items() if len(members) > 1 and pattern != OTHERS}
    grouped = {name for members in groups.values() for name in members}
    if others := [name for members in found.values() for name in members if name not in grouped]:
        groups[OTHERS] = others
    return groups
