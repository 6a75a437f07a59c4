"""The log of a node's program for the invariants: one line per action, on disk before the program continues.

The programs write it independently of the journal and never read it. Times are those of the machine's monotonic clock,
which all processes share and which a jump of a node's clock does not change.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Ledger:
    """One file, which all processes of a node write: a line is one append, so lines never mix."""

    def __init__(self, path: Path | str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, what: str, **fields: Any) -> None:
        line = json.dumps({"what": what, "at": time.clock_gettime(time.CLOCK_MONOTONIC), **fields})
        os.write(self._descriptor, line.encode() + b"\n")
        os.fsync(self._descriptor)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``what``: began (a program), begins (a supervisor starts an incarnation), born (it runs), reported,
    fails, opened, took, went_on; begun (a command), handed (its message to the process), handled (by the process)."""

    what: str
    at: float
    fields: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.fields.get(key)


def read(path: Path) -> list[Entry]:
    """All complete lines: the last line of a killed program may be incomplete."""
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
