"""Events are built of any content."""

import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import (
    Event,
    EventType,
    Level,
)
from errorkernel.node.journal.next_window import KEPT
from errorkernel.node.reporting.event_builder import build_event, cut, cut_middle, describe
from errorkernel.node.reporting.fit import fit
from errorkernel.protocol import json_codec as wire


def nasty() -> Exception:
    class Nasty(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even this")

    try:
        raise Nasty
    except Nasty as exc:
        return exc


@pytest.mark.parametrize("filler", ["x", "\n", "\x01", '"', "\\", "é", "\U0001f4a5", "\ud800", "\0"])
def test_an_event_of_any_size_and_content_fits(filler: str) -> None:
    big = filler * 400_000
    described = describe(
        big, {"stack": big, "message": {"data": big, "method": big}, "tags": {big: big}, "fingerprint": [big] * 50}
    )
    data = fit(build_event(described, uuid7(), EventType.ERROR, "p", 1))
    assert len(data) <= Limits().event_bytes
    event = wire.decode_event(data, Limits())
    assert event.cut == (), "the kernel has nothing left to cut"
    assert "bytes cut" in event.text
    assert "bytes cut" in event.stack


def test_what_is_cut_says_so_and_a_stack_keeps_both_ends() -> None:
    assert cut("abc", 100) == "abc"
    assert len(cut("é" * 1000, 101).encode()) <= 101
    stack = cut_middle("first\n" + "middle\n" * 10_000 + "last", 1000)
    assert stack.startswith("first")
    assert stack.endswith("last")
    assert len(stack.encode()) <= 1000


def test_an_exception_gives_kind_text_and_stack_even_when_it_cannot_speak() -> None:
    try:
        raise FileNotFoundError(2, "No such file", "/data/a.tif")
    except FileNotFoundError as exc:
        described = describe(exc, {"level": "critical"})
    assert described.kind == "FileNotFoundError"
    assert "/data/a.tif" in described.text
    assert "test_event_building.py" in described.stack
    assert described.level is Level.CRITICAL
    assert describe(nasty(), {}).text == "Nasty"


def test_what_the_caller_wrote_wrongly_is_told() -> None:
    with pytest.raises(TypeError, match="tag"):
        describe("x", {"tag": {}})
    with pytest.raises(TypeError, match="methd"):
        describe("x", {"message": {"methd": "y"}})
    with pytest.raises(ValueError, match="deadline"):
        describe("x", {"deadline_s": 0})
    with pytest.raises(ValueError, match="loud"):
        describe("x", {"level": "loud"})


def test_kept_weights_are_what_the_schema_says() -> None:
    """The partial index of the journal names the weight by number."""
    assert KEPT == 2
    assert isinstance(build_event(describe("x", {}), uuid7(), EventType.INFO, "p", 1), Event)
