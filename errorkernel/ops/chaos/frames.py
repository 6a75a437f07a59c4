"""The bytes of a NATS connection, cut into protocol messages, so that whole ones can be doubled or change places.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from dataclasses import dataclass, field

_WITH_PAYLOAD = (b"PUB", b"HPUB", b"MSG", b"HMSG")


@dataclass(frozen=True, slots=True)
class Frame:
    """One protocol message with everything that belongs to it. ``carries``: it is a message, not housekeeping."""

    data: bytes
    carries: bool


@dataclass(slots=True)
class Splitter:
    """One direction of one connection; what is not complete yet stays until the rest comes."""

    _rest: bytes = field(default=b"")

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete now. Their bytes, joined, are what was fed; nothing is changed."""
        self._rest += data
        frames = []
        while (size := _size(self._rest)) is not None and len(self._rest) >= size[0]:
            length, carries = size
            frames.append(Frame(self._rest[:length], carries))
            self._rest = self._rest[length:]
        return frames


def _size(data: bytes) -> tuple[int, bool] | None:
    """(length, whether it carries a payload) of the message that begins here; None while its line is not complete."""
    end = data.find(b"\r\n")
    if end < 0:
        return None
    words = data[:end].split()
    if words and words[0].upper() in _WITH_PAYLOAD:
        return end + 2 + int(words[-1]) + 2, True
    return end + 2, False
