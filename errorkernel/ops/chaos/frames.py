"""Splits the bytes of a NATS connection into protocol messages, to be duplicated or reordered.

Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

from dataclasses import dataclass, field

_WITH_PAYLOAD = (b"PUB", b"HPUB", b"MSG", b"HMSG")


@dataclass(frozen=True, slots=True)
class Frame:
    """One complete protocol message. ``carries``: it has a payload."""

    data: bytes
    carries: bool


@dataclass(slots=True)
class Splitter:
    """One direction of one connection; keeps an incomplete message until the rest arrives."""

    _rest: bytes = field(default=b"")

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete now. Joined, they are the fed bytes, unchanged."""
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
