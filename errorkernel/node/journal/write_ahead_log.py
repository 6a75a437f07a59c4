"""The write-ahead log of a journal: how many of its bytes are current, and a sync that holds no writer up.

The size of the file does not tell: SQLite restarts the log at its beginning and leaves the rest as it is, which is
cheaper than truncating it. Current frames carry the salts of the log's header
(https://www.sqlite.org/fileformat2.html#walformat). SQLite's locks are on the ``-shm`` file, so this file may be opened
and closed at any time.
"""

import os
from pathlib import Path

_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_SALTS_BYTES = 8
_SALTS_OF_HEAD = 16
_SALTS_OF_FRAME = 8


class WriteAheadLog:
    """The log beside ``journal``, whose pages have ``page_bytes``. Raises OSError where it cannot be opened."""

    def __init__(self, journal: Path, page_bytes: int) -> None:
        self._file = os.open(journal.with_name(journal.name + "-wal"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._frame_bytes = _FRAME_HEAD_BYTES + page_bytes

    def reaches(self, log_bytes: int) -> bool:
        """Whether that many bytes were written since the log was restarted."""
        frame = _HEAD_BYTES + log_bytes // self._frame_bytes * self._frame_bytes
        salts = os.pread(self._file, _SALTS_BYTES, frame + _SALTS_OF_FRAME)
        return len(salts) == _SALTS_BYTES and salts == os.pread(self._file, _SALTS_BYTES, _SALTS_OF_HEAD)

    def sync(self) -> None:
        """Return when all writes so far are on the disk. Raises OSError."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
