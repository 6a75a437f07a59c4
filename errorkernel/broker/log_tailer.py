"""Access denials of the broker, read from its log.

nats-server reports a denied publish or subscription only to the client and in its log; its system account has events
for refused connections only. So both are read from the log. Its lines quote all text from clients and contain the
account, which identifies the node. Source: nats-server 2.15, ``server/client.go``.
"""

import json
import os
import re
from pathlib import Path
from typing import BinaryIO

from errorkernel.broker.config import node_of_account
from errorkernel.domain.access_denials import TARGET_CHARS, Denial, DenialKind

READ_BYTES = 1024 * 1024
"""Lines read at once; a flood is read in steps."""
BEHIND_BYTES = 8 * 1024 * 1024
"""If more bytes are unread, the oldest lines are skipped."""

_QUOTED = r'"(?:[^"\\]|\\.)*"'
_CLIENT = r"\[ERR\] (?P<address>\S+):\d+ - cid:\d+"
_VIOLATION = re.compile(
    rf"{_CLIENT}(?: - {_QUOTED})? - (?P<account>{_QUOTED}) - (?P<what>Publish|Subscription) Violation"
    rf" - (?P<kind>Subject|Reply) (?P<target>{_QUOTED})(?:, .*)?\Z"
)
_LOGIN = re.compile(rf"{_CLIENT}(?: - {_QUOTED})* - authentication error(?: - (?P<how>Nkey|User) (?P<name>{_QUOTED}))?")


def parse(line: str) -> Denial | None:
    """The access denial in a line of the log, if it contains one."""
    if found := _VIOLATION.search(line):
        account, _, user = _unquoted(found["account"]).partition("/")
        what: DenialKind = "publish" if found["what"] == "Publish" else "subscribe"
        target = _unquoted(found["target"])
        if found["kind"] == "Reply":
            target = f"(answer to) {target}"
        return Denial(what, target[:TARGET_CHARS], node_of_account(account), _claimed(user), found["address"])
    if found := _LOGIN.search(line):
        name = _unquoted(found["name"] or '""')[:TARGET_CHARS]
        claimed = f"key:{name}" if found["how"] == "Nkey" else f"user:{name}" if name else ""
        return Denial("connect", "", "", claimed[:80], found["address"])
    return None


def _unquoted(text: str) -> str:
    """Text in Go's %q format, which equals JSON for ordinary characters."""
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _claimed(user: str) -> str:
    return "key:" + user.removeprefix("nkey:") if user.startswith("nkey:") else ""


class LogTailer:
    """New lines of a log that may be rotated (renamed and created again). Starts at its present end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""
        self._file = self._open()
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def read(self) -> list[str]:
        """Complete lines since the last call; empty if there is no log."""
        file = self._file = self._file or self._open()
        if file is None:
            return []
        if os.fstat(file.fileno()).st_size - file.tell() > BEHIND_BYTES:
            file.seek(-BEHIND_BYTES, os.SEEK_END)
        data = file.read(READ_BYTES)
        if not data:
            self._follow(file)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-READ_BYTES:]
        return [line.decode(errors="replace") for line in lines]

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except OSError:
            return None

    def _follow(self, file: BinaryIO) -> None:
        """At the end of the file: continue with the new file after a rotation, from the beginning after a
        truncation."""
        here = os.fstat(file.fileno())
        try:
            there = self._path.stat()
        except OSError:
            return
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            file.close()
            self._file = self._open()
        elif there.st_size < file.tell():
            file.seek(0)
