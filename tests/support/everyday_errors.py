"""The everyday error texts of ``tests/unit/data/everyday_errors.txt``, each with its cause."""

import re
from itertools import combinations
from pathlib import Path

from errorkernel.domain.fingerprint import grouping
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level

FILE = Path(__file__).parents[1] / "unit" / "data" / "everyday_errors.txt"
_VARIANTS = re.compile("⟦(.*?)⟧")
_OCCURRENCES = 3

Cause = tuple[str, str]
"""Program and cause."""


def texts() -> list[tuple[Cause, str]]:
    """Each cause once, or in three occurrences where these differ."""
    found = []
    for line in FILE.read_text().splitlines():
        if line.startswith("#"):
            continue
        program, cause, text = line.split(" | ", 2)
        for occurrence in range(_OCCURRENCES if "⟦" in text else 1):
            found.append(((program, cause), _VARIANTS.sub(lambda part: part[1].split("¦")[occurrence], text)))  # noqa: B023
    return found


def measure() -> tuple[int, list[tuple[Cause, Cause]], int]:
    """Split pairs of one cause, pairs of causes that are merged, and how many pairs of one cause there are."""
    keys = [(cause, _key(text)) for cause, text in texts()]
    split = same = 0
    merges = []
    for (cause, key), (other_cause, other_key) in combinations(keys, 2):
        if cause == other_cause:
            same += 1
            split += key != other_key
        elif key == other_key:
            merges.append((cause, other_cause))
    return split, merges, same


def _key(text: str) -> str:
    event = Event(id=uuid7(), type=EventType.ERROR, level=Level.ERROR, process="p", text=text)
    return grouping.group(event).key
