"""Reads the body of a request of a node: uncompresses it while it arrives, then splits it into events.

Independent of Django and the broker. Neither the declared nor the uncompressed size of a body is trusted. Memory is
bounded for any input: a compression bomb is refused while it is uncompressed, and a body of millions of tiny values
before it is parsed.

Sources: RFC 9110 §8.4 (content codings), RFC 1952 (gzip), RFC 1950/1951 (deflate, which some senders send bare).
"""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from errorkernel.domain.limits import Limits
from errorkernel.protocol.errors import explain

GZIP_MEMBERS_MAX = 64
"""A gzip file may consist of several members; thousands of empty ones would only cost time."""
COMMAS_PER_EVENT = 200
"""The contract's largest event has 70; a larger average is no batch of events."""
QUOTES_PER_COMMA = 10
"""A larger array (in bytes, escapes included) with an invalid item is not split, which would block all requests for a
second."""
ENCODINGS = {"": None, "identity": None, "gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS,
             "deflate": zlib.MAX_WBITS}  # fmt: skip
"""Content-Encoding → window bits of zlib; None: uncompressed."""
_INFLATE_STEP = 64 * 1024
_NDJSON_TYPES = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)

# One step to the next comma outside of strings. Possessive, so linear for any body.
_TO_COMMA = re.compile(rb'(?:[^",]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+,', re.DOTALL)
# The same to the next comma or bracket.
_TO_MARK = re.compile(rb'(?:[^",\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([,\[\]{}])', re.DOTALL)
_array_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_value_decoder = msgspec.json.Decoder(msgspec.Raw)


CODES = {
    "body_too_big": "too_large",
    "too_many": "too_many_events",
    "encoding": "unsupported_encoding",
}
"""Reason of a ``BodyError`` → code of the API's error, where it is not ``invalid_body``."""


class BodyError(ValueError):
    """An invalid body; ``status`` is the HTTP status, ``reason`` a short stable word (a metric label)."""

    def __init__(self, status: int, reason: str, detail: str, data: bytes = b"") -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.code = CODES.get(reason, "invalid_body")
        self.data = data


async def read(headers: Mapping[str, str], chunks: AsyncIterator[bytes], limits: Limits) -> bytes:
    """The whole body, uncompressed. ``headers``: lower-case names. Raises BodyError (400, 413 or 415)."""
    length = headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limits.body_compressed_bytes:
        raise too_big_as_sent(limits)
    unpack = _unpacker(headers.get("content-encoding", ""), limits)
    received, parts, size = 0, [], 0
    async for chunk in chunks:
        received += len(chunk)
        if received > limits.body_compressed_bytes:
            raise too_big_as_sent(limits)
        for start in range(0, len(chunk), _INFLATE_STEP):
            part = unpack.feed(chunk[start : start + _INFLATE_STEP], limits.body_bytes - size)
            parts.append(part)
            size += len(part)
            await asyncio.sleep(0)  # a big body must not block other requests
    unpack.end()
    if size > limits.body_bytes:
        raise _too_big_unpacked(limits)
    return b"".join(parts)


def split(content_type: str, body: bytes, limits: Limits) -> list[bytes]:
    """The events of a body, each as the exact bytes that were sent. Raises BodyError (400 or 413).

    One object, an array, or lines (NDJSON by its content type, or several lines that each begin an object).
    """
    body = body.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if not body:
        raise BodyError(400, "empty", "The body is empty.")
    if content_type.partition(";")[0].strip().lower() in _NDJSON_TYPES:
        return _lines(body, limits)
    if body.startswith(b"["):
        return _array(body, limits)
    if not body.startswith(b"{"):
        raise BodyError(400, "not_json", "The body is neither an object, nor an array, nor lines of objects.", body)
    try:
        return [bytes(_value_decoder.decode(body))]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        # Cut off before a line end, a single object's lines do not each begin with a brace.
        if b"\n" in body and all(line.lstrip().startswith(b"{") for line in body[:65536].split(b"\n") if line.strip()):
            return _lines(body, limits)
        return [body]  # whether it is valid is checked when it is decoded


def _array(body: bytes, limits: Limits) -> list[bytes]:
    _check_commas(body, limits)
    try:
        items = [bytes(item) for item in _array_decoder.decode(body)]
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        items = _elements(body, limits)
        if not items:
            raise BodyError(400, "not_json", explain(exc), body) from None
    if len(items) > limits.events_per_request:
        raise _too_many(limits)
    return items


def _elements(body: bytes, limits: Limits) -> list[bytes]:
    """What stands between the commas of an array in which something cannot be read; nothing where it is no array.

    The others must not be refused for it. By commas and brackets alone, so that it does not matter what it is.
    """
    allowed = COMMAS_PER_EVENT * limits.events_per_request
    if body.count(b'"') + body.count(b"\\") > QUOTES_PER_COMMA * allowed:
        return []
    items, depth, start, at = [], 0, 1, 1
    for _ in range(allowed):
        step = _TO_MARK.match(body, at)
        if step is None:
            break
        mark, at = step[1], step.end()
        if depth == 0 and mark in b",]":
            items.append(body[start : at - 1].strip())
            start = at
            if mark == b"]":
                return items if at == len(body) and all(items) else []
        elif mark in b"[{":
            depth += 1
        elif mark in b"]}":
            depth -= 1
    return []


def _lines(body: bytes, limits: Limits) -> list[bytes]:
    # Counted before splitting: twenty million empty lines would be twenty million objects.
    if body.count(b"\n") > 3 * limits.events_per_request:
        raise _too_many(limits)
    lines = [stripped for line in body.split(b"\n") if (stripped := line.strip(b" \t\r"))]
    if len(lines) > limits.events_per_request:
        raise _too_many(limits)
    return lines


def _check_commas(body: bytes, limits: Limits) -> None:
    """Refuse an array of millions of values, which would cost a hundred times its size as objects."""
    allowed = COMMAS_PER_EVENT * limits.events_per_request
    if body.count(b",") <= allowed:
        return
    found, at = 0, 0
    while step := _TO_COMMA.match(body, at):
        found, at = found + 1, step.end()
        if found > allowed:
            raise BodyError(413, "too_many", "The body holds far more values than a batch of events can have.")


def _unpacker(encoding: str, limits: Limits) -> "_Identity | _Inflate":
    packed = [known for name in encoding.split(",") if (known := name.strip().lower()) not in ("", "identity")]
    if len(packed) > 1 or not ENCODINGS.keys() >= set(packed):
        raise BodyError(
            415, "encoding", f"The Content-Encoding {encoding[:40]!r} is not supported. Use gzip or deflate."
        )
    wbits = ENCODINGS[packed[0]] if packed else None
    return _Identity() if wbits is None else _Inflate(limits, wbits)


class _Identity:
    def feed(self, chunk: bytes, room: int) -> bytes:
        return chunk

    def end(self) -> None:
        pass


class _Inflate:
    """zlib with bounded output: at most one byte more than ``room``, which shows that the limit is exceeded."""

    def __init__(self, limits: Limits, wbits: int) -> None:
        self._limits = limits
        self._wbits = wbits
        self._stream: Any = zlib.decompressobj(wbits)
        self._members = 1
        self._fed = False

    def feed(self, chunk: bytes, room: int) -> bytes:
        if chunk and not self._fed and self._wbits == zlib.MAX_WBITS and not _has_zlib_header(chunk):
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._fed = self._fed or bool(chunk)
        out = []
        while chunk:
            if self._stream.eof:
                chunk = self._without_padding(chunk)
                if not chunk:
                    break
                self._next_member()
            try:
                part = self._stream.decompress(chunk, room + 1)
            except zlib.error:
                raise BodyError(400, "bad_compression", "The body cannot be unpacked: it is damaged.") from None
            room -= len(part)
            if room < 0:
                raise _too_big_unpacked(self._limits)
            out.append(part)
            chunk = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return b"".join(out)

    def end(self) -> None:
        if not self._stream.eof:
            raise BodyError(400, "bad_compression", "The body cannot be unpacked: it ends too early.")

    def _without_padding(self, chunk: bytes) -> bytes:
        """Some senders pad a gzip file with zeros, which gzip itself ignores."""
        return chunk if self._wbits == zlib.MAX_WBITS else chunk.lstrip(b"\0")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > GZIP_MEMBERS_MAX or self._wbits == zlib.MAX_WBITS:
            raise BodyError(400, "bad_compression", "The body cannot be unpacked: something follows its end.")
        self._stream = zlib.decompressobj(self._wbits)


def _has_zlib_header(chunk: bytes) -> bool:
    if len(chunk) == 1:
        return chunk[0] & 0x0F == 8
    return chunk[0] & 0x0F == 8 and (chunk[0] << 8 | chunk[1]) % 31 == 0


def too_big_as_sent(limits: Limits) -> BodyError:
    return BodyError(413, "body_too_big", f"The body is larger than {limits.body_compressed_bytes} bytes.")


def _too_big_unpacked(limits: Limits) -> BodyError:
    return BodyError(413, "body_too_big", f"The body is larger than {limits.body_bytes} bytes when unpacked.")


def _too_many(limits: Limits) -> BodyError:
    return BodyError(413, "too_many", f"The body has more than {limits.events_per_request} events; send them in parts.")
