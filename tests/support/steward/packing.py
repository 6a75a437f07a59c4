"""Messages of Steward and ctrl, packed and decoded for tests."""

import pytest
import zstandard

from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import (
    envelope as steward_envelope,
)
from errorkernel.senders.steward.protocol import (
    message as steward_message,
)
from errorkernel.senders.steward.protocol.layout import StewardMessage

CTRL_SUBJECT = "errorCentral.errorLog"
STEWARD_SUBJECT = "errorCentral.REQErrorLog.EventACK"


def decode(payload: bytes, headers: dict[str, str] | None = None) -> StewardMessage:
    envelope = steward_envelope.unpack(payload, headers or {})
    return steward_message.decode(envelope.body, envelope.format).message


def as_go_packs_it(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(body)


def refused(payload: bytes, headers: dict[str, str] | None = None) -> str:
    with pytest.raises(ProtocolError) as caught:
        decode(payload, headers)
    return caught.value.reason
