from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import gob
from tests.support.steward.examples import STEWARD_ERROR, STEWARD_ERROR_MESSAGE

TYPES: dict[int, gob.Type] = {
    65: gob.Struct("T", (("text", 6), ("data", 5), ("number", 2), ("count", 3), ("yes", 1), ("real", 4), ("inner", 65),
                         ("texts", 66), ("numbers", 67), ("all", 68), ("by_name", 69), ("own", 70), ("nested", 71))),
    66: gob.Slice("[]string", 6),
    67: gob.Slice("[]int", 2),
    68: gob.Slice("[]T", 65),
    69: gob.Map(6, 2),
    70: gob.Opaque(),
    71: gob.Slice("[][]string", 66),
}  # fmt: skip
WRITER = gob.Writer(TYPES, 65)


def values(depth: int = 2) -> st.SearchStrategy[dict[str, Any]]:
    """Without what is zero, which is never sent."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "text": st.text(min_size=1),
        "data": st.binary(min_size=1),
        "number": st.integers(-(2**63), 2**63 - 1).filter(bool),
        "count": st.integers(1, 2**64 - 1),
        "yes": st.just(True),
        "real": st.floats(allow_nan=False).filter(bool),
        "texts": st.lists(st.text(), min_size=1),
        "numbers": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
        "by_name": st.dictionaries(st.text(), st.integers(-9, 9), min_size=1),
        "own": st.binary(min_size=1),
        "nested": st.lists(st.lists(st.text(max_size=3)), min_size=1),
    }
    if depth:
        fields["inner"] = values(depth - 1).filter(bool)
        fields["all"] = st.lists(values(depth - 1), min_size=1, max_size=3)
    return st.fixed_dictionaries({}, optional=fields)


@given(values())
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    assert gob.decode(WRITER.encode(value)).value == value


@given(st.lists(st.text()))
def test_a_value_that_is_no_struct_is_read_back(value: list[str]) -> None:
    decoded = gob.decode(gob.Writer({64: gob.Slice("[]string", 6)}, 64).encode(value))
    assert decoded == gob.Decoded(value, gob.Slice("[]string", 6))
    assert gob.decode(gob.Writer({}, 6).encode("x")) == gob.Decoded("x", None)


def test_the_ids_of_types_are_the_senders_own() -> None:
    for first in (24, 64, 65, 10_000):
        types = {first: gob.Struct("T", (("a", first + 1),)), first + 1: gob.Slice("", 6)}
        assert gob.decode(gob.Writer(types, first).encode({"a": ["x"]})).value == {"a": ["x"]}


def test_the_worked_example_is_read_field_by_field() -> None:
    decoded = gob.decode(STEWARD_ERROR)
    assert isinstance(decoded.type, gob.Struct)
    assert len(decoded.type.fields) == 23
    assert decoded.value["FromNode"] == "edge7"
    assert decoded.value["ACKTimeout"] == 60
    assert decoded.value["Data"] == STEWARD_ERROR_MESSAGE.data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_gob"),
        (b"\x00", "not_gob"),
        (b"\x80", "not_gob"),
        (b"\x01\x0c", "not_gob"),
        (b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff", "not_gob"),
        (b"\x04\x0c\x00\x05a", "not_gob"),
        (b"\x05\x0c\x00\x01ab", "not_gob"),
        (b"\x05\x0c\x01\x01ab", "not_gob"),
        (b"\x03\xff\x80\x00", "not_gob"),
        (STEWARD_ERROR[:-1], "not_gob"),
        (STEWARD_ERROR + b"\x00", "not_gob"),
        (STEWARD_ERROR + STEWARD_ERROR, "not_gob"),
    ],
    ids=lambda one: one[:12].hex() if isinstance(one, bytes) else one,
)
def test_what_is_torn_or_followed_by_something_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        gob.decode(data)
    assert refused.value.reason == reason


def test_a_count_beyond_the_bytes_left_is_refused_before_anything_is_made() -> None:
    types = {64: gob.Slice("", 6)}
    whole = gob.Writer(types, 64).encode([])
    lying = whole[:-5] + b"\x0c\xff\x80\x00\xf8\x7f" + b"\xff" * 7
    with pytest.raises(ProtocolError, match="length in it is wrong"):
        gob.decode(lying)


def test_nesting_has_an_end() -> None:
    value: dict[str, Any] = {"text": "x"}
    for _ in range(gob.DEPTH_MAX - 1):
        value = {"inner": value}
    assert gob.decode(WRITER.encode(value)).value == value
    with pytest.raises(ProtocolError) as refused:
        gob.decode(WRITER.encode({"inner": value}))
    assert refused.value.reason == "too_deep"


def test_a_list_of_itself_ends_by_the_same_limit() -> None:
    data = gob.Writer({64: gob.Slice("", 64)}, 64).encode([])
    nested = b"\xff\x80\x00" + b"\x01" * 1000 + b"\x00"
    with pytest.raises(ProtocolError) as refused:
        gob.decode(data[:-5] + b"\xfe" + len(nested).to_bytes(2) + nested)
    assert refused.value.reason == "too_deep"


@pytest.mark.parametrize("value", [{"texts": [""] * 20_000}, {"all": [{}] * 20_000}, {"nested": [[]] * 20_000}])
def test_things_are_counted(value: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as refused:
        gob.decode(WRITER.encode(value))
    assert refused.value.reason == "too_many"


def test_types_and_fields_are_counted() -> None:
    many = {64 + number: gob.Slice("", 6) for number in range(gob.TYPES_MAX + 1)}
    with pytest.raises(ProtocolError) as refused:
        gob.decode(gob.Writer(many, 64).encode([]))
    assert refused.value.reason == "too_many"
    wide = {64: gob.Struct("T", tuple((f"f{number}", 6) for number in range(gob.FIELDS_MAX + 1)))}
    with pytest.raises(ProtocolError, match="too many fields"):
        gob.decode(gob.Writer(wide, 64).encode({}))


@pytest.mark.parametrize(
    ("types", "value"),
    [
        ({6: gob.Slice("", 6), 64: gob.Struct("T", ())}, {}),
        ({16: gob.Slice("", 6), 64: gob.Struct("T", ())}, {}),
        ({64: gob.Struct("T", (("a", 6), ("a", 6)))}, {}),
        ({64: gob.Struct("T", (("a", 65),)), 65: gob.Map(2, 6)}, {"a": {1: "x"}}),
    ],
    ids=["a built-in type anew", "a bootstrap type anew", "two fields of one name", "numbers as keys"],
)
def test_descriptions_that_go_would_not_write_are_refused(types: dict[int, gob.Type], value: Any) -> None:
    with pytest.raises(ProtocolError):
        gob.decode(gob.Writer(types, 64).encode(value))


def test_a_field_or_type_that_was_not_described_is_refused() -> None:
    types = {64: gob.Struct("T", (("a", 99),))}
    data = gob.Writer(types, 64).encode({})
    for value in (b"\x01\x01x\x00", b"\x02\x01x\x00"):
        with pytest.raises(ProtocolError):
            gob.decode(data[:-4] + bytes([2 + len(value)]) + b"\xff\x80" + value)


def test_texts_that_are_no_utf8_are_read_with_a_mark() -> None:
    assert gob.decode(b"\x05\x0c\x00\x02\xffa").value == "\N{REPLACEMENT CHARACTER}a"


def test_numbers_beyond_64_bits_are_not_written() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        WRITER.encode({"number": 2**63})


@given(st.one_of(st.binary(max_size=400), st.tuples(st.integers(0, 660), st.binary(max_size=4)).map(
    lambda change: STEWARD_ERROR[: change[0]] + change[1] + STEWARD_ERROR[change[0] + len(change[1]) :])))  # fmt: skip
def test_any_bytes_give_a_value_or_a_wire_error(data: bytes) -> None:
    try:
        gob.decode(data)
    except ProtocolError as exc:
        reason = exc.reason
    else:
        reason = "none"
    assert reason in ("none", "not_gob", "too_deep", "too_many")
