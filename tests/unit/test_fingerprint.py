import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.domain.fingerprint import grouping, masks
from errorkernel.domain.ids import uuid7
from errorkernel.domain.values import Event, EventType, Level


def event(text: str, **fields: object) -> Event:
    made = {"id": uuid7(), "type": EventType.ERROR, "level": Level.ERROR, "process": "p", "text": text, **fields}
    return Event(**made)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("open /data/a.tif: no such file", "open <path>: no such file"),
        ("C:\\a\\b.txt missing", "<path> missing"),
        ("worker-12 failed after 1.5e3 s", "worker-<n> failed after <n> s"),
        ("GET http://a/b?c=1 503", "GET <url> <n>"),
        ("2026-11-24T10:00:00Z down", "<time> down"),
        ("at Tue Nov  4 10:00:00 2026 it  broke", "at <time> it broke"),
        ("10.1.2.3:44 refused fe80::1 and [::1]:80", "<addr> refused <addr> and <addr>"),
        ("id 0199e7a0-0000-7000-8000-000000000000 of bob@example.org", "id <uuid> of <mail>"),
        ("deadbeef99 at 0xdead", "<hex> at <hex>"),
        ("std::vector is no address", "std::vector is no address"),
        ("größe überschritten", "größe überschritten"),
    ],
)
def test_what_differs_between_occurrences_is_masked(text: str, masked: str) -> None:
    assert masks.mask(text) == masked


def test_the_same_cause_is_one_problem_whatever_its_numbers() -> None:
    first, second = event("open /a/1: gone (17)", kind="E"), event("open /b/2: gone (4)", kind="E")
    assert grouping.group(first).key == fingerprint.group(second).key
    assert grouping.group(first).key != fingerprint.group(event("open /a/1: gone (17)", kind="Other")).key


def test_a_question_shares_its_errors_problem_and_an_info_does_not() -> None:
    error = grouping.group(event("no"))
    assert grouping.group(event("no", type=EventType.ACTION)).key == error.key
    assert grouping.group(event("no", type=EventType.INFO)).key != error.key


def test_a_given_fingerprint_decides_alone_and_its_parts_do_not_run_together() -> None:
    one = grouping.group(event("a", fingerprint=("x", "yz")))
    assert one.key == grouping.group(event("b", fingerprint=("x", "yz"))).key
    assert one.key != grouping.group(event("a", fingerprint=("xy", "z"))).key


@given(st.text(), st.integers(0, 10**9), st.integers(0, 10**9))
def test_only_the_number_in_a_text_never_makes_another_problem(text: str, one: int, other: int) -> None:
    assert masks.mask(f"{text} {one}") == fingerprint.mask(f"{text} {other}")


@given(st.text(max_size=3000))
def test_masking_takes_any_text_and_folds_its_white_space(text: str) -> None:
    masked = masks.mask(text)
    assert masked == " ".join(masked.split())
