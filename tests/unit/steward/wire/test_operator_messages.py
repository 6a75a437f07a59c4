"""Messages to Steward and ctrl nodes."""

import base64

import cbor2
import msgspec
import pytest
import zstandard
from nacl.signing import VerifyKey

from errorkernel.senders.steward.protocol import (
    envelope as steward_envelope,
)
from errorkernel.senders.steward.protocol import (
    event_mapping,
    gob,
    operator_messages,
)
from errorkernel.senders.steward.protocol import (
    message as steward_message,
)
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.methods import SAFE_METHODS
from tests.support.steward.examples import (
    FULL,
    within,
)
from tests.support.steward.packing import CTRL_SUBJECT, STEWARD_SUBJECT, decode

# How nodes are spoken to


def incoming_in(
    layout: str, form: Format, compression: Compression, subject: str, declared: bool
) -> event_mapping.Incoming:
    message = within(StewardMessage(from_node="n", method="errorLog", data=b"x"), layout)
    payload = steward_envelope.pack(steward_message.encode(message, form, layout), compression)
    headers = {"serial": form.value, "cmp": {"": "none"}.get(compression, compression.value)} if declared else {}
    return event_mapping.read(subject, headers, payload)


@pytest.mark.parametrize("layout", ["A20", "A23", "A25", "A26"])
@pytest.mark.parametrize("form", [Format.GOB, Format.CBOR])
def test_steward_is_spoken_to_in_gob_whatever_it_writes(layout: str, form: Format) -> None:
    incoming = incoming_in(layout, form, Compression.NONE, STEWARD_SUBJECT, declared=layout == "A23")
    assert incoming.dialect
    payload, headers = incoming.dialect.pack(FULL)
    assert headers == {"fromNode": "ww.central", "serial": "gob", "cmp": "none"}
    assert decode(payload) == within(FULL, "A23")
    assert incoming.dialect.subject("ship2", "REQOpProcessList") == "ship2.REQOpProcessList.EventACK"
    with pytest.raises(ValueError, match="does not read JSON"):
        incoming.dialect.pack(FULL, as_json=True)


@pytest.mark.parametrize(
    ("layout", "declared"), [("A23", True), ("B24", True), ("B24", False), ("B25", False), ("B27", False)]
)
def test_ctrl_is_spoken_to_exactly_as_it_speaks(layout: str, declared: bool) -> None:
    incoming = incoming_in(layout, Format.CBOR, Compression.ZSTD, CTRL_SUBJECT, declared)
    assert incoming.dialect
    payload, headers = incoming.dialect.pack(FULL)
    assert len(cbor2.loads(zstandard.decompress(payload))) == int(layout[1:])
    assert ("serial" in headers) == ("cmp" in headers) == declared
    if layout == "B27":
        as_json, _ = incoming.dialect.pack(FULL, as_json=True)
        found = msgspec.json.decode(as_json)
        assert found["ACKTimeout"] == 60
        assert base64.b64decode(found["data"]) == FULL.data
    else:
        with pytest.raises(ValueError, match="does not read JSON"):
            incoming.dialect.pack(FULL, as_json=True)


@pytest.mark.parametrize(
    ("layout", "form", "compression", "declared"),
    [
        ("B27", Format.CBOR, Compression.NONE, False),
        ("B27", Format.CBOR, Compression.ZSTD, True),
        ("B27", Format.GOB, Compression.NONE, False),
        ("A26", Format.CBOR, Compression.ZSTD, True),
    ],
)
def test_nothing_is_sent_to_a_node_that_spoke_in_no_known_way(
    layout: str, form: Format, compression: Compression, declared: bool
) -> None:
    assert incoming_in(layout, form, compression, CTRL_SUBJECT, declared).dialect is None


# Operators' messages

REQ = Dialect(True, True, Format.GOB, Compression.NONE, "A23", declared=True)
PLAIN = Dialect(False, False, Format.CBOR, Compression.ZSTD, "B27", declared=False)


@pytest.mark.parametrize(
    "request_",
    [
        operator_messages.list_processes(operator_messages.Operator("errorkernel", bytes(32)), "ship1", REQ, "op:1"),
        operator_messages.stop_process(operator_messages.Operator("errorkernel"), "ship1", REQ, "REQHttpGet", "op:1"),
        StewardMessage(to_node="ship1", previous_message=StewardMessage(method_args=("a",), schedule=(1, 2))),
    ],
)
def test_gob_declares_the_fields_that_are_set_and_no_others(request_: StewardMessage) -> None:
    # Steward before 31 January 2022 has another type for Data and refuses a message that declares it.
    payload, _ = REQ.pack(request_)
    decoded = gob.decode(payload)
    assert isinstance(decoded.type, gob.Struct)
    names = {name for name, _ in decoded.type.fields}
    assert names == decoded.value.keys() | decoded.value.get("PreviousMessage", {}).keys()
    assert "Data" not in names
    assert decode(payload) == request_


def test_a_request_in_gob_is_as_go_writes_it() -> None:
    # By encoding/gob of Go 1.19, from a struct of these four fields. Its types begin at 65, ours at 64.
    by_go = bytes.fromhex(
        "4fff81030101074d65737361676501ff820001040106546f4e6f6465010c0001064d6574686f64010c00010f5265706c794d6574686f644172"
        "677301ff8400010a41434b54696d656f7574010400000016ff83020101085b5d737472696e6701ff8400010c000025ff820105736869703101"
        "105245514f7050726f636573734c6973740101046f703a31010a00"
    )
    request = StewardMessage(to_node="ship1", method="REQOpProcessList", reply_method_args=("op:1",), ack_timeout=5)
    ours = REQ.pack(request)[0]
    assert decode(by_go) == decode(ours) == request
    with_gos_numbers = (
        ours.replace(b"\x7f", b"\xff\x81", 1).replace(b"\x4e", b"\x4f", 1).replace(b"\xff\x80", b"\xff\x82")
    )
    assert with_gos_numbers == by_go


def test_a_stop_always_has_three_arguments_and_a_start_one() -> None:
    operator = operator_messages.Operator("errorkernel")
    stop = operator_messages.stop_process(operator, "ww.ship1", REQ, "REQHttpGet", "op:1")
    assert stop.method_args == ("REQHttpGet", "ww.ship1", "subscriber")
    assert (stop.method, stop.reply_method, stop.reply_method_args) == (
        "REQOpProcessStop",
        "REQToFileAppend",
        ("op:1",),
    )
    start = operator_messages.start_process(operator, "ship1", PLAIN, "PortDst", "op:2")
    assert (start.method, start.method_args, start.reply_method) == ("opProcessStart", ("PortDst",), "fileAppend")
    listing = operator_messages.list_processes(operator, "ship1", PLAIN, "op:3")
    assert (listing.method, listing.method_args) == ("opProcessList", ())
    for message in (stop, start, listing):
        assert message.ack_timeout >= 1
        assert message.arg_signature == b""


@pytest.mark.parametrize(
    "method",
    ["REQHello", "hello", "REQErrorLog", "errorLog", "REQOpProcessStop", "opProcessList", "REQSUBCopySrc", "none", "",
     "REQKeysRequestUpdate", "helloPublisher", "httpget"],
)  # fmt: skip
def test_what_a_start_would_not_bring_back_is_not_stopped(method: str) -> None:
    assert method not in SAFE_METHODS
    for dialect in (REQ, PLAIN):
        for ask in (operator_messages.stop_process, operator_messages.start_process):
            with pytest.raises(ValueError, match="not one of the methods"):
                ask(operator_messages.Operator("ek"), "ship1", dialect, method, "op")


def test_a_method_of_the_other_projects_spelling_is_refused() -> None:
    with pytest.raises(ValueError, match="'REQHttpGet'"):
        operator_messages.stop_process(operator_messages.Operator("ek"), "ship1", REQ, "httpGet", "op")
    with pytest.raises(ValueError, match="'fileAppend'"):
        operator_messages.start_process(operator_messages.Operator("ek"), "ship1", PLAIN, "REQToFileAppend", "op")


def test_arguments_are_signed_with_blanks_between_them() -> None:
    operator = operator_messages.Operator("errorkernel", bytes(range(32)))
    key = VerifyKey(operator.public_key)
    stop = operator_messages.stop_process(operator, "ship1", PLAIN, "httpGet", "op:1")
    key.verify(b"httpGet ship1 subscriber", stop.arg_signature)
    key.verify(b"", operator_messages.list_processes(operator, "ship1", PLAIN, "op:1").arg_signature)
    assert len(stop.arg_signature) == 64
    assert operator_messages.Operator("errorkernel").public_key == b""


def test_a_list_of_processes_is_read_in_both_forms() -> None:
    reply = StewardMessage(
        is_reply=True,
        method_args=("op:1",),
        data=b"Tue Nov 24 02:02:33 2026, process: subscriber, id: 15, name: ship1.REQHttpGet.EventACK\n"
        b"Tue Nov  4 02:02:33 2026, id: 3, name: ship3.httpGet\nnonsense \xff\n",
    )
    assert operator_messages.reply_correlation(reply) == "op:1"
    assert operator_messages.reply_correlation(StewardMessage(method_args=("op:1",))) == ""
    assert operator_messages.parse_list(reply) == (
        operator_messages.Listed("ship1.REQHttpGet.EventACK", 15, "subscriber"),
        operator_messages.Listed("ship3.httpGet", 3),
    )
