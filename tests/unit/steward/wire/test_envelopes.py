"""Steward's and ctrl's envelopes, and hostile input."""

import gzip
import tracemalloc
from collections.abc import Callable

import cbor2
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from errorkernel.domain.limits import Limits
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import (
    cbor,
    event_mapping,
)
from errorkernel.senders.steward.protocol import (
    envelope as steward_envelope,
)
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from tests.support.steward.examples import (
    CTRL_ERROR,
    CTRL_LIST_JSON,
    STEWARD_ERROR,
)
from tests.support.steward.fuzz import Fuzz
from tests.support.steward.packing import STEWARD_SUBJECT, as_go_packs_it, decode, refused

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
