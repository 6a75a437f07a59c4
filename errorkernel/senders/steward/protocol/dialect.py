"""The dialect of messages to a node: that of the node's own messages.

A ctrl node ends when it receives a message that it cannot decode. So a message is sent only to nodes whose messages
were decoded, in exactly their layout, format and compression. Steward nodes read gob in any case, and match fields by
name.
"""

import msgspec

from errorkernel.senders.steward.protocol.envelope import Compression, Envelope, Format, pack
from errorkernel.senders.steward.protocol.layout import CTRL, LAYOUTS, STEWARD, StewardMessage
from errorkernel.senders.steward.protocol.message import Decoded, encode, encode_set_fields

_TOKENS = (".EventACK", ".EventNACK")
_READ_HEADERS = ("A23", "B24")
"""Layouts of ctrl that read headers; B24 exists with and without. Later ones are always CBOR in zstd."""


class Dialect(msgspec.Struct, frozen=True):
    """``token``: subjects end in EventACK or EventNACK (Steward). ``req``: methods are spelled with REQ. ``declared``:
    headers contain format and compression."""

    token: bool
    req: bool
    format: Format
    compression: Compression
    layout: str
    declared: bool

    @property
    def is_ctrl(self) -> bool:
        return not self.token

    @property
    def reads_json(self) -> bool:
        """Whether it also reads plain JSON: ctrl since February 2025, for its web page."""
        return self.is_ctrl and self.layout == CTRL

    def subject(self, node: str, method: str) -> str:
        """The subject of operators' messages of ``method`` to ``node``; the node acknowledges all of them."""
        return self.subjects(node, method)[0]

    def subjects(self, node: str, method: str) -> tuple[str, ...]:
        """Where it may listen instead, one after the other: Steward until 27 January 2022 has another token, which none
        of its messages shows."""
        if self.token:
            return f"{node}.{method}.EventACK", f"{node}.{method}.CommandACK"
        return (f"{node}.{method}",)

    def pack(self, message: StewardMessage, *, as_json: bool = False) -> tuple[bytes, dict[str, str]]:
        """Payload and headers of a message to a node of this dialect. Raises ValueError for a message that could end
        the node."""
        headers = {"fromNode": message.from_node}
        if as_json:
            if not self.reads_json:
                raise ValueError("A node of this age does not read JSON; it would end.")
            return encode(message, Format.JSON), headers
        if self.format is Format.GOB:
            body = encode_set_fields(message, self.layout)
        else:
            body = encode(message, self.format, self.layout)
        if self.declared:
            headers |= {"serial": self.format.value, "cmp": _COMPRESSION_HEADER[self.compression]}
        return pack(body, self.compression), headers


_COMPRESSION_HEADER = {Compression.NONE: "none", Compression.ZSTD: "z", Compression.GZIP: "g"}


def dialect_of(subject: str, envelope: Envelope, decoded: Decoded) -> Dialect | None:
    """The dialect of the sender of a message; None if the message does not show it."""
    req = decoded.message.method.startswith("REQ")
    if subject.endswith(_TOKENS):
        return Dialect(True, req, Format.GOB, Compression.NONE, STEWARD, declared=True)
    packed = envelope.format, envelope.compression
    if decoded.layout not in LAYOUTS or envelope.format is Format.JSON:
        return None
    if decoded.layout not in _READ_HEADERS if envelope.declared else packed != (Format.CBOR, Compression.ZSTD):
        return None
    return Dialect(False, req, *packed, decoded.layout, envelope.declared)
