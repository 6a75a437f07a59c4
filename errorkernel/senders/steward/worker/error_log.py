"""Writes ``error.log`` in the format of Steward's errorCentral, for scripts that read it. Each stored error is appended
once.

A separate file holds the position and the batch being appended: after a crash a partly written batch is cut off and
written again. The log is opened for each batch, so it can be rotated at any time.
"""

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from errorkernel.platform.threads import DatabaseThreads
from errorkernel.senders.steward.store import error_lines

log = logging.getLogger("errorkernel.kernel")

INTERVAL_S = 0.5
LINES_AT_ONCE = 500
MODE = 0o660


class ErrorLog:
    """``position``: the file with the position of the log. One kernel writes; others wait for its end."""

    def __init__(self, path: Path, position: Path) -> None:
        self._path = path
        self._position = position
        self._lock: int | None = None

    async def run(self) -> None:
        """Append new errors until cancelled; a failed write is tried again."""
        threads = DatabaseThreads("error log")
        logged = ""
        try:
            while True:
                try:
                    while await threads.run(self.step):
                        pass
                    logged = ""
                except OSError as exc:
                    if str(exc) != logged:
                        logged = str(exc)
                        log.error("%s cannot be written, and is tried again: %s", self._path, exc)
                await asyncio.sleep(INTERVAL_S)
        finally:
            self.close()
            threads.close()

    def step(self, written: Callable[[], None] = lambda: None) -> bool:
        """Append one batch; returns whether there may be more. ``written`` is called between log and position.

        Raises OSError.
        """
        if not self._is_ours():
            return False
        position = self._read()
        if position is None:
            # Starts now: earlier errors are not appended.
            self._write({"seq": error_lines.read(0, 0)[1]})
            return False
        if "appending" in position:
            _take_back(self._path.parent, position["appending"])
        lines, reached = error_lines.read(position["seq"], LINES_AT_ONCE)
        if lines:
            self._append(position["seq"], b"".join(lines))
            written()
        if reached != position["seq"] or "appending" in position:
            self._write({"seq": reached})
            error_lines.forget(position["seq"], reached)
        return len(lines) == LINES_AT_ONCE

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _is_ours(self) -> bool:
        if self._lock is None:
            opened = os.open(self._position.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(opened)
                return False
            self._lock = opened
        return True

    def _append(self, seq: int, data: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        out = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, MODE)
        try:
            before = os.fstat(out)
            self._write({"seq": seq, "appending": {"inode": before.st_ino, "size": before.st_size}})
            while data:
                data = data[os.write(out, data) :]
            os.fsync(out)
        finally:
            os.close(out)

    def _read(self) -> dict[str, Any] | None:
        try:
            return dict(json.loads(self._position.read_text()))
        except FileNotFoundError:
            return None

    def _write(self, position: dict[str, Any]) -> None:
        new = self._position.with_suffix(".new")
        with new.open("w") as out:
            json.dump(position, out)
            out.flush()
            os.fsync(out.fileno())
        new.rename(self._position)


def _take_back(directory: Path, appending: dict[str, int]) -> None:
    """Cut off the part of a batch written before the crash, also if the log was renamed in its directory."""
    if not directory.is_dir():
        return
    for entry in os.scandir(directory):
        if entry.inode() == appending["inode"] and entry.is_file(follow_symlinks=False):
            if entry.stat().st_size > appending["size"]:
                os.truncate(entry.path, appending["size"])
            return
