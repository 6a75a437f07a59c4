"""In which way a node is spoken to: the way in which it speaks itself.

A ctrl node ends when it gets what it cannot decode, so nothing is sent to a node whose own messages we have not
read, and then in exactly its own layout, format and compression. Steward nodes read gob whatever they write, and
match fields by their names.
"""

import msgspec

from errorkernel.senders.steward.protocol.envelope import Compression, Envelope, Format, pack
from errorkernel.senders.steward.protocol.layout import CTRL, LAYOUTS, STEWARD, StewardMessage
from errorkernel.senders.steward.protocol.message import Decoded, encode, encode_set_fields

_TOKENS = (".EventACK", ".EventNACK")
_READ_HEADERS = ("A23", "B24")
"""Layouts of ctrl while it still looked at headers; B24 saw both. Since then everything is zstd with CBOR in it."""


class Dialect(msgspec.Struct, frozen=True):
    """``token``: subjects end in EventACK or EventNACK (Steward). ``req``: methods are spelled with REQ.
    ``declared``: headers say format and compression."""

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
        """ctrl since February 2025 reads plain JSON, for its own web page."""
        return self.is_ctrl and self.layout == CTRL

    def subject(self, node: str, method: str) -> str:
        """Where ``node`` listens for operators' messages of ``method``; all of them are acknowledged."""
        return f"{node}.{method}.EventACK" if self.token else f"{node}.{method}"

    def pack(self, message: StewardMessage, *, as_json: bool = False) -> tuple[bytes, dict[str, str]]:
        """Payload and headers of a message to a node of this dialect. Raises ValueError where it could do harm."""
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
    """How the sender of a message is spoken to; None if its message does not tell, and then it is not."""
    req = decoded.message.method.startswith("REQ")
    if subject.endswith(_TOKENS):
        return Dialect(True, req, Format.GOB, Compression.NONE, STEWARD, declared=True)
    packed = envelope.format, envelope.compression
    if decoded.layout not in LAYOUTS or envelope.format is Format.JSON:
        return None
    if decoded.layout not in _READ_HEADERS if envelope.declared else packed != (Format.CBOR, Compression.ZSTD):
        return None
    return Dialect(False, req, *packed, decoded.layout, envelope.declared)
