"""Compression and format of a message of Steward or ctrl.

The first bytes decide; headers are used only if those are ambiguous. Headers were absent, then always present, then
absent again with another meaning (ctrl sends CBOR in zstd without saying so). The beginnings are distinct: no gob
begins like a compressed frame, a CBOR list or map, or a JSON object.

The size of uncompressed data is bounded before it is allocated.
"""

import zlib
from collections.abc import Mapping
from enum import StrEnum

import msgspec
import zstandard

from errorkernel.protocol.errors import ProtocolError

MESSAGE_MAX_BYTES = 2 * 1024 * 1024
"""Bytes of an uncompressed message: twice the default limit of a broker."""
WINDOW_MAX_BYTES = 8 * 1024 * 1024
"""Memory in bytes that a zstd frame may require; the default maximum of the nodes' encoder."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"
_JSON_STARTS = tuple(b"{" + follows for follows in (b'"', b"}", b" ", b"\t", b"\r", b"\n"))


class Format(StrEnum):
    GOB = "gob"
    CBOR = "cbor"
    JSON = "json"


class Compression(StrEnum):
    """The values are those of the header ``cmp``."""

    NONE = "none"
    ZSTD = "z"
    GZIP = "g"


class Envelope(msgspec.Struct, frozen=True):
    """``body`` is uncompressed. ``declared``: headers contain compression and format; ctrl omits them since December
    2024."""

    format: Format
    compression: Compression
    declared: bool
    body: bytes


def unpack(payload: bytes, headers: Mapping[str, str], max_bytes: int = MESSAGE_MAX_BYTES) -> Envelope:
    """Payload → its uncompressed content. Raises ProtocolError (``too_big``, ``not_zstd``, ``not_gzip``, ``empty``)."""
    compression = _compression(payload, headers.get("cmp", ""))
    body = payload
    if compression is Compression.ZSTD:
        body = _from_zstd(payload, max_bytes)
    elif compression is Compression.GZIP:
        body = _from_gzip(payload, max_bytes)
    if not body:
        raise ProtocolError("empty", "There is nothing in it.")
    if len(body) > max_bytes:
        raise _too_big(max_bytes)
    declared = "serial" in headers or "cmp" in headers
    return Envelope(_format(body, headers.get("serial", ""), compression, declared), compression, declared, body)


def pack(body: bytes, compression: Compression) -> bytes:
    if compression is Compression.ZSTD:
        return zstandard.ZstdCompressor(write_checksum=True).compress(body)
    if compression is Compression.GZIP:
        packer = zlib.compressobj(wbits=31)
        return packer.compress(body) + packer.flush()
    return body


def _compression(payload: bytes, header: str) -> Compression:
    if payload.startswith(_ZSTD_MAGIC):
        return Compression.ZSTD
    if payload.startswith(_GZIP_MAGIC):
        return Compression.GZIP
    if header == Compression.ZSTD:
        raise ProtocolError("not_zstd", "The header says zstd, the payload is something else.")
    if header == Compression.GZIP:
        raise ProtocolError("not_gzip", "The header says gzip, the payload is something else.")
    return Compression.NONE


def _format(body: bytes, header: str, compression: Compression, declared: bool) -> Format:
    if 0x80 <= body[0] <= 0xBF:
        return Format.CBOR
    if body.startswith(_JSON_STARTS):
        return Format.JSON
    if header == Format.CBOR or (compression is Compression.ZSTD and not declared):
        return Format.CBOR
    return Format.GOB


def _from_zstd(payload: bytes, max_bytes: int) -> bytes:
    try:
        frame = zstandard.get_frame_parameters(payload)
        if frame.content_size not in (zstandard.CONTENTSIZE_UNKNOWN, 0) and frame.content_size > max_bytes:
            raise _too_big(max_bytes)
        _check_single_frame(payload, zstandard.frame_header_size(payload), frame.has_checksum)
        unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
        # Small frames do not contain the length of their content, so the limit is given.
        return unpacker.decompress(payload, max_output_size=max_bytes)
    except zstandard.ZstdError as exc:
        # The library raises the same error for a frame whose content exceeds the limit.
        raise ProtocolError("not_zstd", f"{exc} (or it has more than {max_bytes} bytes in it)") from None


def _check_single_frame(payload: bytes, at: int, has_checksum: bool) -> None:
    """Whether the frame is complete and nothing follows it, which the library does not check (RFC 8878, 3.1.1)."""
    last = 0
    while not last:
        head = int.from_bytes(payload[at : at + 3], "little")
        last, kind, size = head & 1, head >> 1 & 3, head >> 3
        at += 3 + (1 if kind == 1 else size)
        if at > len(payload):
            break
    if at + 4 * has_checksum != len(payload):
        raise ProtocolError("not_zstd", "The zstd frame ends in the middle, or something follows it.")


def _from_gzip(payload: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        body = unpacker.decompress(payload, max_bytes + 1)
    except zlib.error as exc:
        raise ProtocolError("not_gzip", str(exc)) from None
    if len(body) <= max_bytes and (not unpacker.eof or unpacker.unused_data):
        raise ProtocolError("not_gzip", "The gzip stream ends in the middle, or something follows it.")
    return body


def _too_big(max_bytes: int) -> ProtocolError:
    return ProtocolError("too_big", f"Unpacked it would have more than {max_bytes} bytes.")
