"""The layouts of Steward and ctrl messages, and the value of all of them.

In CBOR a message is an array without names: its length and the type of its third element, a number (family A: Steward,
and ctrl until November 2024) or a text (family B: ctrl with JetStream), determine its fields. A length that is not in
the table is refused, because a guess could assign a value to the wrong field. In gob and JSON fields have names, and
any set of them can be read.
"""

from typing import Annotated

import msgspec

# The fields in their order; layouts differ by added and removed fields.
_A26 = [
    "ToNode", "ToNodes", "ID", "Data", "Method", "MethodArgs", "ArgSignature", "ReplyMethod", "ReplyMethodArgs",
    "IsReply", "FromNode", "ACKTimeout", "Retries", "ReplyACKTimeout", "ReplyRetries", "MethodTimeout",
    "ReplyMethodTimeout", "Directory", "FileName", "PreviousMessage",
    "RelayViaNode", "RelayOriginalViaNode", "RelayFromNode", "RelayToNode", "RelayOriginalMethod", "RelayReplyMethod",
]  # fmt: skip
_A25 = [name for name in _A26 if name != "ArgSignature"]
_A20 = _A26[:20]
_A21 = [*_A20[:12], "RetryWait", *_A20[12:]]
_A22 = [*_A21[:13], "IsSubPublishedMsg", *_A21[13:]]
_A23 = [*_A22, "Schedule"]
_B24 = [*_A23[:2], "JetstreamToNode", *_A23[2:]]
_B25 = [*_B24, "UseDetectedShell"]
_B27 = [*_B25, "MethodInstructions", "ReplyMethodInstructions"]

LAYOUTS: dict[str, tuple[str, ...]] = {
    "A20": tuple(_A20),
    "A21": tuple(_A21),
    "A22": tuple(_A22),
    "A23": tuple(_A23),
    "A25": tuple(_A25),
    "A26": tuple(_A26),
    "B24": tuple(_B24),
    "B25": tuple(_B25),
    "B27": tuple(_B27),
}
"""Family and number of elements → the fields in their order."""
STEWARD, CTRL = "A23", "B27"
"""The latest layouts of both projects."""
LAYOUT_OF_FIELDS = {frozenset(fields): name for name, fields in LAYOUTS.items()}
FAMILY_ELEMENT = 2
"""Its type determines the family."""

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


def go_name(attribute: str) -> str:
    """The name that the nodes use: ``reply_ack_timeout`` → ``ReplyACKTimeout``."""
    short = {"id": "ID", "ack": "ACK"}
    return "".join(short.get(word, word.capitalize()) for word in attribute.split("_"))


def json_name(attribute: str) -> str:
    """The key in JSON, which begins with a lower-case letter, except for two fields."""
    name = go_name(attribute)
    if name == "ID":
        return "id"
    return name if name in ("ACKTimeout", "PreviousMessage") else name[0].lower() + name[1:]


class StewardMessage(msgspec.Struct, frozen=True, rename=json_name):
    """A message of Steward or ctrl, whatever its layout; fields that a layout lacks are zero.

    Timeouts and waits are in seconds, -1 for none; ``data`` is the payload. Nothing in it is trusted; ``directory`` and
    ``file_name`` are never used as a path.
    """

    to_node: str = ""
    to_nodes: tuple[str, ...] = ()
    jetstream_to_node: str = ""
    id: Int64 = 0
    data: bytes = b""
    method: str = ""
    method_args: tuple[str, ...] = ()
    arg_signature: bytes = b""
    reply_method: str = ""
    reply_method_args: tuple[str, ...] = ()
    is_reply: bool = False
    from_node: str = ""
    ack_timeout: Int64 = 0
    retry_wait: Int64 = 0
    is_sub_published_msg: bool = False
    retries: Int64 = 0
    reply_ack_timeout: Int64 = 0
    reply_retries: Int64 = 0
    method_timeout: Int64 = 0
    reply_method_timeout: Int64 = 0
    directory: str = ""
    file_name: str = ""
    previous_message: "StewardMessage | None" = None
    schedule: tuple[Int64, ...] = ()
    use_detected_shell: bool = False
    method_instructions: tuple[str, ...] = ()
    reply_method_instructions: tuple[str, ...] = ()
    relay_via_node: str = ""
    relay_original_via_node: str = ""
    relay_from_node: str = ""
    relay_to_node: str = ""
    relay_original_method: str = ""
    relay_reply_method: str = ""


ATTRIBUTES: dict[str, str] = {go_name(name): name for name in StewardMessage.__struct_fields__}
"""Go's name → ours."""
KEYS: dict[str, str] = {name: json_name(attribute) for name, attribute in ATTRIBUTES.items()}
"""Go's name → the key in JSON."""
