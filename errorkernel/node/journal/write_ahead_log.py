"""The journal's write-ahead log: how far it reaches, and bringing it onto the disk without holding anybody up.

The file's size says nothing: SQLite starts the log again from its beginning and leaves the rest as it is, which is
cheaper than to give the space back. What is current bears the salts of the log's head; the format is documented
(https://www.sqlite.org/fileformat2.html#walformat). Nobody holds locks on this file (they are on the ``-shm`` file), so
it may be opened and closed as we like.
"""

import os
from pathlib import Path

_HEAD_BYTES = 32
_FRAME_HEAD_BYTES = 24
_SALTS_BYTES = 8
_SALTS_OF_HEAD = 16
_SALTS_OF_FRAME = 8


class JournalLog:
    """The log beside ``journal``, whose pages have ``page_bytes``. Raises OSError where it cannot be opened."""

    def __init__(self, journal: Path, page_bytes: int) -> None:
        self._file = os.open(journal.with_name(journal.name + "-wal"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._frame_bytes = _FRAME_HEAD_BYTES + page_bytes

    def reaches(self, log_bytes: int) -> bool:
        """Whether that much of the log holds what was written since it began anew."""
        frame = _HEAD_BYTES + log_bytes // self._frame_bytes * self._frame_bytes
        salts = os.pread(self._file, _SALTS_BYTES, frame + _SALTS_OF_FRAME)
        return len(salts) == _SALTS_BYTES and salts == os.pread(self._file, _SALTS_BYTES, _SALTS_OF_HEAD)

    def sync(self) -> None:
        """Everything that has been written is on the disk when this returns. Raises OSError."""
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
