"""What a node's program has seen and done, line by line, on disk before it goes on: the account from the outside.

The programs write it themselves, beside the journal and without it, and never read it. Times are those of the machine's
monotonic clock, which all processes share and no jump of a node's clock moves.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Ledger:
    """One file, written by every process of a node: a line is one append, so lines never mix."""

    def __init__(self, path: Path | str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, what: str, **fields: Any) -> None:
        line = json.dumps({"what": what, "at": time.clock_gettime(time.CLOCK_MONOTONIC), **fields})
        os.write(self._descriptor, line.encode() + b"\n")
        os.fsync(self._descriptor)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``what``: began (a program), begins (a supervisor starts an incarnation), born (it runs), reported,
    fails, asked, took, went_on; begun (a command), handed (its message to the process), handled (by the process)."""

    what: str
    at: float
    fields: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.fields.get(key)


def read(path: Path) -> list[Entry]:
    """All lines that are complete: the last one of a program that was killed may not be."""
    try:
        return list(_entries(path.read_bytes()))
    except FileNotFoundError:
        return []


def _entries(data: bytes) -> Iterator[Entry]:
    for line in data.split(b"\n"):
        try:
            fields = json.loads(line)
            yield Entry(fields.pop("what"), fields.pop("at"), fields)
        except (ValueError, LookupError):
            continue
