"""Steward's and ctrl's messages: worked examples and layouts."""

import cbor2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errorkernel.senders.steward.protocol import (
    envelope as steward_envelope,
)
from errorkernel.senders.steward.protocol import (
    message as steward_message,
)
from errorkernel.senders.steward.protocol import (
    operator_messages,
)
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.layout import ATTRIBUTES, LAYOUTS, StewardMessage
from tests.support.steward.examples import (
    CTRL_ERROR,
    CTRL_ERROR_MESSAGE,
    CTRL_LIST_JSON,
    CTRL_STOP,
    FULL,
    SIGNATURE,
    STEWARD_ERROR,
    STEWARD_ERROR_MESSAGE,
    every_encoding,
    within,
)
from tests.support.steward.packing import as_go_packs_it, decode, refused

# The worked examples


def test_ctrls_error_is_read_and_written_byte_for_byte() -> None:
    assert decode(as_go_packs_it(CTRL_ERROR)) == decode(CTRL_ERROR) == CTRL_ERROR_MESSAGE
    assert steward_message.encode(CTRL_ERROR_MESSAGE, Format.CBOR, "B27") == CTRL_ERROR
    assert as_go_packs_it(CTRL_ERROR)[:6].hex() == "28b52ffd0400"


def test_stewards_error_is_read_and_written_byte_for_byte() -> None:
    assert decode(STEWARD_ERROR) == decode(STEWARD_ERROR, {"serial": "gob", "cmp": "none"}) == STEWARD_ERROR_MESSAGE
    assert steward_message.encode(STEWARD_ERROR_MESSAGE, Format.GOB, "A23") == STEWARD_ERROR


def test_an_operators_stop_is_written_byte_for_byte() -> None:
    dialect = Dialect(False, False, Format.CBOR, Compression.ZSTD, "B27", declared=False)
    stop = operator_messages.stop_process(
        operator_messages.Operator("errorkernel"), "edge7", dialect, "httpGet", "op:7f3a"
    )
    signed = msgspec.structs.replace(stop, arg_signature=SIGNATURE)
    assert steward_message.encode(signed, Format.CBOR, "B27") == CTRL_STOP
    payload, headers = dialect.pack(signed)
    assert decode(payload) == signed
    assert headers == {"fromNode": "errorkernel"}
    assert dialect.subject("edge7", stop.method) == "edge7.opProcessStop"


def test_json_of_ctrls_web_page_is_read() -> None:
    message = decode(CTRL_LIST_JSON)
    assert (message.to_node, message.method, message.reply_method_args) == ("edge7", "opProcessList", ("op:1",))
    assert (message.ack_timeout, message.reply_ack_timeout, message.file_name) == (5, 5, "op.log")
    assert decode(b'{"data":"aGk=","argSignature":"AAE="}') == StewardMessage(data=b"hi", arg_signature=b"\0\1")


# Layouts


def test_every_layout_is_read_in_every_format_and_compression() -> None:
    encodings = every_encoding(FULL)
    assert len(encodings) == 3 * (9 * 2 + 1)
    for headers, payload in encodings:
        message = decode(payload, headers)
        assert message in {within(FULL, layout) for layout in LAYOUTS} | {FULL}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_has_the_number_of_elements_of_its_name(layout: str) -> None:
    assert int(layout[1:]) == len(LAYOUTS[layout]) == len(set(LAYOUTS[layout]))
    assert set(LAYOUTS[layout]) <= set(ATTRIBUTES)
    for form in (Format.GOB, Format.CBOR):
        decoded = steward_message.decode(steward_message.encode(within(FULL, layout), form, layout), form)
        assert decoded == steward_message.Decoded(within(FULL, layout), layout)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 19, 24, 26, 27, 28, 40])
def test_an_unknown_number_of_elements_is_quarantined_not_guessed(count: int) -> None:
    item = ["errorCentral", None, 7, *[None] * 50][:count]
    if count not in (26,):
        assert refused(cbor2.dumps(item)) == "unknown_layout"
    item = ["errorCentral", None, "", *[None] * 50][:count]
    if count not in (24, 27):
        assert refused(cbor2.dumps(item)) == "unknown_layout"


@pytest.mark.parametrize("third", [None, True, 1.5, b"", []])
def test_the_third_element_must_tell_the_family(third: object) -> None:
    item = ["errorCentral", None, third, *[None] * 20]
    assert refused(cbor2.dumps(item)) in ("unknown_layout", "not_cbor")


def test_data_of_the_oldest_layout_is_a_list_of_texts() -> None:
    names = LAYOUTS["A25"]
    item = [{"ID": 0, "Data": ["one\n", "two\n"], "FromNode": "ship1"}.get(name) for name in names]
    assert decode(cbor2.dumps(item)).data == b"one\ntwo\n"


def test_a_map_with_either_kind_of_names_is_read() -> None:
    by_json = {"toNode": "a", "id": 3, "data": b"x", "ACKTimeout": 60, "PreviousMessage": {"fromNode": "b"}, "new": 1}
    by_go = {"ToNode": "a", "ID": 3, "Data": b"x", "ACKTimeout": 60, "PreviousMessage": {"FromNode": "b"}, "New": [1]}
    expected = StewardMessage(
        to_node="a", id=3, data=b"x", ack_timeout=60, previous_message=StewardMessage(from_node="b")
    )
    assert decode(cbor2.dumps(by_json)) == decode(cbor2.dumps(by_go)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"fromNode": 7}, {"id": "7"}, {"id": 2**63}, {"id": -(2**63) - 1}, {"data": "aGk="}, {"data": [1]},
        {"argSignature": "aGk="}, {"methodArgs": "x"}, {"methodArgs": [1]}, {"isReply": 1}, {"schedule": ["x"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_refused(change: dict[str, object]) -> None:
    assert refused(cbor2.dumps(change)) == "wrong_shape"


def test_messages_within_messages_have_an_end() -> None:
    message = StewardMessage(from_node="x")
    for _ in range(steward_message.PREVIOUS_MAX):
        message = StewardMessage(from_node="x", previous_message=message)
    deeper = StewardMessage(previous_message=message)
    for form in Format:
        assert decode(steward_message.encode(message, form)) == message
        assert refused(steward_message.encode(deeper, form)) == "too_deep"


TEXTS = st.text(max_size=30)
INTS = st.integers(-(2**63), 2**63 - 1)
MESSAGES = st.recursive(
    st.builds(StewardMessage),
    lambda before: st.builds(
        StewardMessage,
        **{
            attribute: {
                str: TEXTS,
                bytes: st.binary(max_size=100),
                bool: st.booleans(),
                int: INTS,
            }.get(type(getattr(FULL, attribute)), st.lists(TEXTS, max_size=4).map(tuple))
            for attribute in ATTRIBUTES.values()
            if attribute not in ("previous_message", "schedule")
        },
        schedule=st.lists(INTS, max_size=3).map(tuple),
        previous_message=st.none() | before,
    ),
    max_leaves=3,
)


@settings(deadline=None)
@given(MESSAGES, st.sampled_from(sorted(LAYOUTS)), st.sampled_from(Compression))
def test_any_message_encodes_and_decodes_to_itself(
    message: StewardMessage, layout: str, compression: Compression
) -> None:
    for form in Format:
        sent = message if form is Format.JSON else within(message, layout)
        body = steward_message.encode(sent, form, layout)
        headers = {"serial": form.value, "cmp": compression.value}
        assert decode(steward_envelope.pack(body, compression), headers) == sent
