"""Times as senders write them, beyond RFC 3339: the other forms of ISO 8601, leap seconds, seconds since 1970.

The decoders read RFC 3339. This is asked only for what they refuse, so that usual events cost nothing more.

Sources: ISO 8601-1:2019, RFC 3339 §5.6 (leap seconds), RFC 5322 §3.3.
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

FIELDS = frozenset({"occurred_at", "at", "started_at", "since", "decided_at"})
UNREADABLE = datetime(1, 1, 1, tzinfo=UTC)
"""Stands for a time that cannot be read: no clock shows it, so that it is dropped as other impossible times are."""
TEXT_MAX_CHARS = 64
MILLISECONDS_FROM = 1e11
"""A number that is larger counts milliseconds: as seconds it would be in the year 5138."""

_LEAP = re.compile(r"(\d\d:?[0-5]\d:?)60(?=[.,Z+-]|\Z)")
_MIDNIGHT = re.compile(r"T24(:?00)?(:?00)?(?:[.,]0+)?(?=[Z+-]|\Z)")
_ORDINAL = re.compile(r"(\d{4})-?(\d{3})(T.*)?\Z")
_ZONE = re.compile(r"\s*(?:UTC|GMT)\Z")


def parse(given: Any) -> datetime | None:
    """The time that was meant; without a zone it is UTC. None for what cannot be read."""
    try:
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return datetime.fromtimestamp(given / 1000 if abs(given) >= MILLISECONDS_FROM else given, UTC)
        if not isinstance(given, str) or len(given) > TEXT_MAX_CHARS:
            return None
        text = given.strip()
        return parsedate_to_datetime(text) if text[:3].isalpha() else _iso(text.upper())
    except (ValueError, OverflowError, OSError):
        return None


def _iso(text: str) -> datetime:
    text = _ZONE.sub("Z", text.replace("\N{MINUS SIGN}", "-"))
    text = re.sub(r"\s+(?=[Z+]|-\d\d:?\d\d\Z)", "", text).replace(" ", "T", 1)
    if ordinal := _ORDINAL.match(text):
        text = f"{datetime.strptime(f'{ordinal[1]} {ordinal[2]}', '%Y %j'):%Y-%m-%d}{ordinal[3] or ''}"
    later = timedelta()
    if _LEAP.search(text):
        text, later = _LEAP.sub(r"\g<1>59", text), timedelta(seconds=1)
    elif _MIDNIGHT.search(text):
        text, later = _MIDNIGHT.sub("T00:00", text), timedelta(days=1)
    if later:
        text = re.sub(r"[.,]\d+", "", text)
    # A date alone has no zone.
    return datetime.fromisoformat(text.removesuffix("Z") if len(text) <= len("2026-11-24Z") else text) + later


def repair(data: bytes) -> bytes | None:
    """JSON of a payload with its times as RFC 3339; None where there is nothing to repair."""
    try:
        payload = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(payload, dict):
        return None
    processes = payload.get("processes")
    parts = (
        [payload, *(part for part in processes if isinstance(part, dict))] if isinstance(processes, list) else [payload]
    )
    repaired = [_repair_part(part) for part in parts]
    return msgspec.json.encode(payload) if any(repaired) else None


def _repair_part(part: dict[str, Any]) -> bool:
    wrong = [name for name in FIELDS & part.keys() if part[name] is not None and not _is_rfc3339(part[name])]
    for name in wrong:
        part[name] = parse(part[name]) or UNREADABLE
    return bool(wrong)


def _is_rfc3339(given: Any) -> bool:
    try:
        msgspec.convert(given, datetime)
    except msgspec.ValidationError:
        return False
    return True
