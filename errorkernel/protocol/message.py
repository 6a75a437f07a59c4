"""The message in progress as it stands in payloads: in events and in commands alike."""

import msgspec


class MessagePayload(msgspec.Struct):
    id: str | int | None = None
    method: str | None = None
    from_node: str | None = None
    to_node: str | None = None
    data: str | None = None
