"""From a message of Steward or ctrl to an event."""

import pytest

from errorkernel.domain.limits import Limits
from errorkernel.domain.values import EventType
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import (
    envelope as steward_envelope,
)
from errorkernel.senders.steward.protocol import (
    event_mapping,
)
from errorkernel.senders.steward.protocol import (
    message as steward_message,
)
from errorkernel.senders.steward.protocol.envelope import Format
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.subjects import ERROR_SUBJECTS
from tests.support.steward.examples import (
    CTRL_ERROR,
    STEWARD_ERROR,
)
from tests.support.steward.packing import CTRL_SUBJECT, STEWARD_SUBJECT, as_go_packs_it

# From a message to an event


def test_an_error_becomes_an_event_whose_id_is_that_of_its_payload() -> None:
    payload = as_go_packs_it(CTRL_ERROR)
    incoming = event_mapping.read(CTRL_SUBJECT, {"fromNode": "edge7"}, payload)
    first = event_mapping.report(incoming, Limits())
    again = event_mapping.report(event_mapping.read(CTRL_SUBJECT, {}, payload), Limits())
    assert first.node == "edge7"
    assert first.event == again.event
    assert first.event.id.version == 7
    assert first.event.text == "error: methodHttpGet: method timed out: [http://192.0.2.1/]"
    assert (first.event.type, first.event.process, first.event.kind) == (EventType.ERROR, "httpGet", "timed out")
    assert first.event.tags["source"] == "ctrl"
    assert first.event.tags["process"] == "guessed_from_text"
    assert first.event.occurred_at
    assert first.event.occurred_at.isoformat() == "2025-01-02T03:04:05+00:00"
    assert "zone not known" in first.event.tags["clock"]
    other = event_mapping.report(incoming, Limits(), occurrence=1)
    assert other.event.id != first.event.id


def test_an_acknowledgement_is_wanted_by_token_or_timeout_and_never_read() -> None:
    def wants(subject: str, ack_timeout: int) -> bool:
        message = StewardMessage(from_node="a", ack_timeout=ack_timeout)
        return event_mapping.read(subject, {}, steward_message.encode(message, Format.GOB)).wants_ack

    assert wants("errorCentral.REQErrorLog.EventACK", 0)
    assert wants("errorCentral.REQErrorLog", 1)
    assert not wants("errorCentral.REQErrorLog", 0)
    assert wants("central.REQHello.EventNACK", 10)
    assert not wants("central.REQHello.EventNACK", 0)
    for subject in ERROR_SUBJECTS:
        with pytest.raises(ProtocolError) as caught:
            event_mapping.read(subject + ".reply", {}, STEWARD_ERROR)
        assert caught.value.reason == "bad_subject"


@pytest.mark.parametrize("name", ["", " ", "a" * 65, "a\nb", "a\0"])
def test_a_node_without_a_name_that_can_be_shown_is_refused(name: str) -> None:
    payload = steward_message.encode(StewardMessage(from_node=name, data=b"x"), Format.GOB)
    with pytest.raises(ProtocolError) as caught:
        event_mapping.report(event_mapping.read(STEWARD_SUBJECT, {}, payload), Limits())
    assert caught.value.reason == "bad_node"


def test_a_long_text_is_cut_and_marked_and_a_message_too_big_is_refused() -> None:
    limits = Limits(text_bytes=1000)
    message = StewardMessage(from_node="a.b", data=b"error: " + b"\xff" * 5000 + b"\0")
    event = event_mapping.report(
        event_mapping.read(STEWARD_SUBJECT, {}, steward_message.encode(message, Format.GOB)), limits
    ).event
    assert len(event.text.encode()) <= 1000
    assert event.cut == ("text",)
    huge = StewardMessage(from_node="a", data=bytes(steward_envelope.MESSAGE_MAX_BYTES))
    with pytest.raises(ProtocolError) as caught:
        event_mapping.read(STEWARD_SUBJECT, {}, steward_message.encode(huge, Format.GOB))
    assert caught.value.reason == "too_big"
