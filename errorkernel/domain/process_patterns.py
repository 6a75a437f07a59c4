"""Names of processes that differ in a number only, as one pattern: ``ingest-07`` and ``ingest-11`` are ``ingest-*``."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_NUMBERS = re.compile(r"[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4,12})*|\d+")
"""A decimal number, or an id in hexadecimal digits."""


@lru_cache(maxsize=20_000)
def pattern_of(name: str) -> str:
    """``name`` with a star for each number in it."""
    return _NUMBERS.sub("*", name)


def count_patterns(names: Iterable[str]) -> list[tuple[str, int]]:
    """The patterns of these names and how many names each has, the most first. A pattern of one name is the name."""
    named: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, count in Counter(names).items():
        pattern = pattern_of(name)
        counts[pattern] += count
        named[pattern] = name if named.setdefault(pattern, name) == name else pattern
    return [(named[pattern], count) for pattern, count in counts.most_common()]
