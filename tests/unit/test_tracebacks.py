"""Tracebacks read as Python's own, to the letter, the first time and from what is remembered."""

import traceback
from collections.abc import Callable

import pytest

from errorkernel.node.reporting import tracebacks


class Own(Exception):
    class Inner(ValueError): ...


def plain() -> None:
    open("/nowhere/a.tif").close()


def silent() -> None:
    raise Own.Inner


def with_cause() -> None:
    try:
        plain()
    except OSError as exc:
        raise Own("cannot copy") from exc


def with_context() -> None:
    try:
        plain()
    except OSError:
        raise Own("cannot copy") from KeyError("x").with_traceback(None)


def with_hidden_context() -> None:
    try:
        plain()
    except OSError:
        raise Own("cannot copy") from None


def in_its_handler() -> None:
    try:
        with_cause()
    except Own:
        silent()


def with_a_note() -> None:
    exc = Own("x")
    exc.add_note("the disk is full")
    raise exc


def misspelt_name() -> None:
    plane()  # type: ignore[name-defined]  # noqa: F821


def misspelt_attribute() -> None:
    "".uper()  # type: ignore[attr-defined]


def unreadable() -> None:
    compile("a b\nc", "settings.ini", "exec")


def recursion(depth: int = 50) -> None:
    recursion(depth - 1) if depth else plain()


def several_lines() -> None:
    print(
        1,
        1 / 0,
    )


def group() -> None:
    errors = []
    for fail in (plain, with_cause, recursion):
        try:
            fail()
        except Exception as exc:
            errors.append(exc)
    raise ExceptionGroup("three", [*errors, ExceptionGroup("inner", [Own("no frames")])])


def no_source() -> None:
    exec(compile("def f():\n    1 / 0\nf()", "<made>", "exec"), {})


def circle() -> None:
    try:
        plain()
    except OSError as exc:
        other = Own("round")
        other.__cause__, exc.__cause__ = exc, other
        raise


FAILING = [
    plain, silent, with_cause, with_context, with_hidden_context, in_its_handler, with_a_note, misspelt_name,
    misspelt_attribute, unreadable, recursion, several_lines, group, no_source, circle,
]  # fmt: skip


@pytest.mark.parametrize("fail", FAILING, ids=lambda fail: fail.__name__)
def test_a_traceback_reads_as_pythons_own(fail: Callable[[], None]) -> None:
    with pytest.raises(BaseException) as caught:
        fail()
    expected = "".join(traceback.format_exception(caught.value))
    tracebacks._places.clear()
    assert tracebacks.render(caught.value) == expected
    assert tracebacks.render(caught.value) == expected, "from what is remembered"


def test_two_functions_alike_in_two_files_are_told_apart() -> None:
    shown = []
    for name in ("one.py", "two.py"):
        try:
            exec(compile("def f():\n    1 / 0\nf()", name, "exec"), {})
        except ZeroDivisionError as exc:
            shown.append(tracebacks.render(exc))
    assert "one.py" in shown[0]
    assert "two.py" in shown[1]
    assert "one.py" not in shown[1]


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracebacks, "_PLACES_MAX", 50)
    tracebacks._places.clear()
    for number in range(500):
        with pytest.raises(ZeroDivisionError) as caught:
            exec(compile("1 / 0", f"{number}.py", "exec"), {})
        assert f"{number}.py" in tracebacks.render(caught.value)
    assert len(tracebacks._places) <= 50
