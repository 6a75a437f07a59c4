"""The error for input that violates the protocol, and its explanation in our words."""

import re

import msgspec

_MISSING = re.compile(r"Object missing required field `(.+)`\Z")
_TYPE = re.compile(r"Expected `(.+)`, got `(.+)`\Z")
_ENUM = re.compile(r"Invalid enum value (.+)\Z", re.DOTALL)
_BYTE = re.compile(r"\(byte (\d+)\)")
_KINDS = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "a list", "null": "null", "uuid": "a UUID", "datetime": "a time",
}  # fmt: skip


class ProtocolError(ValueError):
    """Input that violates the contract. ``reason`` is a short stable word (a metric label); str() explains."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


def explain(error: Exception) -> str:
    """One sentence for an error of ``msgspec``'s decoders, whose own words are for programmers in Python."""
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        place = _BYTE.search(text)
        return f"This is not JSON: the mistake is at byte {place[1]}." if place else "This is not JSON."
    what, _, path = text.partition(" - at `$")
    field = path.removesuffix("`").removeprefix(".")
    if found := _MISSING.match(what):
        return f"The field '{field + '.' * bool(field) + found[1]}' is missing."
    if found := _TYPE.match(what):
        wanted, given = (" or ".join(_KINDS.get(kind, kind) for kind in part.split(" | ")) for part in found.groups())
        return f"'{field}' must be {wanted}, not {given}." if field else f"This must be {wanted}, not {given}."
    if found := _ENUM.match(what):
        return f"'{field}' cannot be {found[1][:60]}."
    return f"The value of '{field}' is not allowed."
