"""The message in progress in payloads of events and commands."""

import msgspec


class MessagePayload(msgspec.Struct):
    id: str | int | None = None
    method: str | None = None
    from_node: str | None = None
    to_node: str | None = None
    data: str | None = None
