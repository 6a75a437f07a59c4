import base64
import gzip
import tracemalloc
from collections.abc import Callable

import cbor2
import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from errorkernel.domain.limits import Limits
from errorkernel.domain.values import EventType
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import (
    cbor,
    event_mapping,
    gob,
    operator_messages,
)
from errorkernel.senders.steward.protocol import (
    envelope as steward_envelope,
)
from errorkernel.senders.steward.protocol import (
    message as steward_message,
)
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.layout import ATTRIBUTES, LAYOUTS, StewardMessage
from errorkernel.senders.steward.protocol.methods import SAFE_METHODS
from errorkernel.senders.steward.protocol.subjects import ERROR_SUBJECTS
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
from tests.support.steward.fuzz import Fuzz

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


# Envelopes


@pytest.mark.parametrize(
    ("payload", "headers", "expected"),
    [
        (STEWARD_ERROR, {}, Format.GOB),
        (STEWARD_ERROR, {"serial": "nonsense", "cmp": "none"}, Format.GOB),
        (steward_envelope.pack(STEWARD_ERROR, Compression.ZSTD), {"cmp": "z"}, Format.GOB),
        (steward_envelope.pack(STEWARD_ERROR, Compression.GZIP), {"cmp": "g"}, Format.GOB),
        (CTRL_ERROR, {"serial": "cbor"}, Format.CBOR),
        (CTRL_ERROR, {"serial": "gob"}, Format.CBOR),
        (as_go_packs_it(CTRL_ERROR), {"fromNode": "edge7"}, Format.CBOR),
        (as_go_packs_it(CTRL_ERROR), {"serial": "cbor", "cmp": "z"}, Format.CBOR),
        (steward_envelope.pack(CTRL_ERROR, Compression.GZIP), {"serial": "cbor", "cmp": "g"}, Format.CBOR),
        (CTRL_LIST_JSON, {}, Format.JSON),
    ],
)
def test_the_first_bytes_decide_before_the_headers(payload: bytes, headers: dict[str, str], expected: Format) -> None:
    assert steward_envelope.unpack(payload, headers).format is expected


def test_what_the_headers_promise_must_be_there() -> None:
    assert refused(STEWARD_ERROR, {"cmp": "z"}) == "not_zstd"
    assert refused(STEWARD_ERROR, {"cmp": "g"}) == "not_gzip"
    assert refused(STEWARD_ERROR, {"serial": "cbor"}) == "not_cbor"
    assert refused(b"") == "empty"
    assert refused(as_go_packs_it(b"")) == "empty"


@pytest.mark.parametrize("compression", [Compression.ZSTD, Compression.GZIP])
def test_a_torn_frame_and_one_with_something_behind_it_are_refused(compression: Compression) -> None:
    packed = steward_envelope.pack(CTRL_ERROR, compression)
    reason = {"z": "not_zstd", "g": "not_gzip"}[compression]
    for end in range(5, len(packed)):
        assert refused(packed[:end]) == reason
    assert refused(packed + b"x") == reason
    assert refused(packed + packed) == reason
    damaged = bytearray(packed)
    damaged[-3] ^= 1
    assert refused(bytes(damaged)) == reason


ZEROS = bytes(1 << 28)
BOMBS: dict[str, Callable[[], bytes]] = {
    "zstd": lambda: as_go_packs_it(ZEROS),
    "zstd with its size": lambda: zstandard.compress(ZEROS),
    "zstd with a lying size": lambda: b"\x28\xb5\x2f\xfd\x04\x00" + as_go_packs_it(ZEROS)[6:],
    "gzip": lambda: gzip.compress(ZEROS, 1),
    "zstd with a huge window": lambda: b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\x00\x00",
    "zstd with a size of 2**60": lambda: b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little") + b"\x01\x00\x00",
}
"""Made by the test that uses them: making all of them takes seconds, and every test process reads this file."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_its_memory(name: str) -> None:
    bomb = BOMBS[name]()
    tracemalloc.start()
    try:
        assert refused(bomb) in ("too_big", "not_zstd")
        assert tracemalloc.get_traced_memory()[1] < 4 * steward_envelope.MESSAGE_MAX_BYTES
    finally:
        tracemalloc.stop()


# Hostile CBOR


@pytest.mark.parametrize(
    "hexed",
    [
        "9bffffffffffffffff", "9a7fffffff", "5b7fffffffffffffff", "7a7fffffff", "bb7fffffffffffffff",  # huge lengths
        "9f00ff", "bf6161f6ff", "5f4101ff", "7f6161ff",  # lengths that are not given in front
        "c249ffffffffffffffffff", "c4821a7fffffff01", "d81c81d81d00", "d82363282828", "d9d9f780", "d8250000",  # tags
        "f97e00", "fb7ff0000000000000", "f7", "f800", "fe", "ff",  # floats, undefined, simple values, a stray end
        "a10000", "a1f600", "a1a00000", "a18000", "a24161006161",  # keys that are no texts
        "1c", "3d", "5e", "9c", "bd", "81", "8261", "a16161",  # not defined, torn
        "8000",  # followed by something
    ],
)  # fmt: skip
def test_hostile_cbor_is_refused_before_it_is_decoded(hexed: str) -> None:
    assert refused(bytes.fromhex(hexed), {"serial": "cbor"}) == "not_cbor"


def test_cbor_nested_or_spread_too_far_is_refused() -> None:
    for nested in (b"\x81" * 100_000 + b"\x00", b"\xa1\x61a" * 100_000 + b"\x00"):
        assert refused(nested) == "too_deep"
    assert refused(cbor2.dumps([0] * 20_000)) == "too_many"
    assert refused(cbor2.dumps([[0] * 100] * 200)) == "too_many"
    assert refused(cbor2.dumps({str(number): 0 for number in range(10_000)})) == "too_many"


SCALARS = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text()


def lists_and_maps(of: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(of, max_size=5) | st.dictionaries(st.text(), of, max_size=5)


@given(st.recursive(SCALARS, lists_and_maps, max_leaves=20))
def test_the_corner_of_cbor_that_is_read_loses_nothing(value: object) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@pytest.mark.parametrize("form", Format)
def test_texts_that_are_no_utf8_do_not_stop_a_message(form: Format) -> None:
    data = {
        Format.GOB: STEWARD_ERROR.replace(b"edge7\x01\x78", b"edg\xff7\x01\x78"),
        Format.CBOR: CTRL_ERROR.replace(b"\x65edge7\x18", b"\x65edg\xff7\x18"),
    }
    if form is Format.JSON:
        assert refused(b'{"fromNode":"\xff"}') == "not_json"
    else:
        assert decode(data[form]).from_node == "edg\N{REPLACEMENT CHARACTER}7"


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(["serial", "cmp"]), st.sampled_from(
    ["cbor", "gob", "z", "g", "none", ""])))  # fmt: skip
def test_any_bytes_give_a_value_or_a_wire_error(payload: bytes, headers: dict[str, str]) -> None:
    try:
        event_mapping.report(event_mapping.read(STEWARD_SUBJECT, headers, payload), Limits())
    except ProtocolError as exc:
        reason = exc.reason
    else:
        reason = "none"
    assert reason


def test_a_short_fuzz_finds_nothing() -> None:
    fuzz = Fuzz(seed=1)
    fuzz.run(20_000)
    assert fuzz.values > 100
    assert sum(fuzz.refused.values()) > 10_000


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
