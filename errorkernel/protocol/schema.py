"""The payloads for the OpenAPI document: their structs, and the checks of the decoders beyond types."""

from typing import Any

import msgspec

from errorkernel.domain.limits import PROCESS_NAME_MAX_CHARS
from errorkernel.protocol import commands, json_codec

PAYLOADS: tuple[type[msgspec.Struct], ...] = (
    json_codec._Event,
    json_codec._Outcome,
    json_codec._Decision,
    commands._Command,
)
"""Event, outcome, decision and command. Their names begin with an underscore, which the OpenAPI document omits."""

_VERSION = {"const": json_codec.VERSION}
# Python's white space, as a pattern with the same meaning in every implementation: ECMA's \S differs in a few.
_BLANK = r"\t-\r\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
NOT_BLANK = f"[^{_BLANK}]"
NOT_BLANK_NOR_NUL = rf"^[^\u0000]*[^\u0000{_BLANK}][^\u0000]*$"
_TIME = {
    "description": "RFC 3339, from 1970 to 2199; without a zone it is taken as UTC",
    "pattern": "^(19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-",
}
CONSTRAINTS: dict[str, dict[str, dict[str, Any]]] = {
    "Event": {
        "v": _VERSION,
        "id": {
            "description": "Made by the sender, time-ordered (UUIDv7) at best; of an action event, its incident's id"
        },
        "process": {"minLength": 1, "maxLength": PROCESS_NAME_MAX_CHARS, "pattern": NOT_BLANK},
        "occurred_at": _TIME,
    },
    "Outcome": {"v": _VERSION, "at": _TIME},
    "Command": {"v": _VERSION, "do": {"const": commands.REQUEUE}, "id": {"description": "Of its outcome too"}},
    "Decision": {"v": _VERSION, "by": {"description": "`user:<name>`, `rule:<id>` or `deadline`"}},
}
"""Payload → field → keywords of JSON Schema beyond the type."""
