"""``reports`` and ``reporting``: what fails is reported once and goes on its way, whatever becomes of the report."""

import asyncio
import contextlib
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from errorkernel.domain.values import Action
from errorkernel.node import BlockingKernel, Kernel
from tests.support.node_peer import Broker, peer_kernel, unreachable, written
from tests.support.waiting import eventually


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[BlockingKernel]:
    with BlockingKernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0) as opened:
        yield opened


def kinds(tmp_path: Path) -> list[tuple[str, str]]:
    return [(one.kind, one.process) for one in written(tmp_path / "journal")]


def test_a_function_that_fails_is_reported_and_raises(kernel: BlockingKernel, tmp_path: Path) -> None:
    @kernel.reports("copy", tags={"release": "1"}, level="critical")
    def copy(name: str) -> str:
        """Copies."""
        return name + str(1 // (name != "bad"))

    assert copy("a") == "a1"
    assert (copy.__name__, copy.__doc__) == ("copy", "Copies.")
    with pytest.raises(ZeroDivisionError):
        copy("bad")
    (event,) = written(tmp_path / "journal")
    assert (event.kind, event.process, event.level.value, event.tags) == (
        "ZeroDivisionError", "copy", "critical", {"release": "1"},
    )  # fmt: skip
    assert "in copy" in event.stack


def test_what_is_nested_is_reported_once_by_the_innermost(kernel: BlockingKernel, tmp_path: Path) -> None:
    with pytest.raises(OSError), kernel.reporting("outer"), kernel.reporting("inner"):
        raise OSError("x")
    assert kinds(tmp_path) == [("OSError", "inner")]


def test_without_reraise_it_ends_there(kernel: BlockingKernel, tmp_path: Path) -> None:
    @kernel.reports("copy", reraise=False)
    def fail() -> int:
        raise OSError("x")

    assert fail() is None
    with kernel.reporting("block", reraise=False):
        raise KeyError("y")
    assert kinds(tmp_path) == [("OSError", "copy"), ("KeyError", "block")]


@pytest.mark.parametrize("exc", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_error_passes(exc: type[BaseException], kernel: BlockingKernel, tmp_path: Path) -> None:
    with pytest.raises(exc), kernel.reporting("p", reraise=False):
        raise exc
    assert kinds(tmp_path) == []


def test_a_generator_is_reported_when_it_fails_and_keeps_its_ways(kernel: BlockingKernel, tmp_path: Path) -> None:
    @kernel.reports("lines")
    def lines() -> Generator[int, int, str]:
        got = yield 1
        if got == 2:
            raise OSError("x")
        return "done"

    running = lines()
    assert next(running) == 1
    with pytest.raises(OSError):
        running.send(2)
    running = lines()
    next(running)
    with pytest.raises(StopIteration, match="done"):
        running.send(3)
    running = lines()
    next(running)
    running.close()
    assert kinds(tmp_path) == [("OSError", "lines")]


def test_what_could_not_be_reported_is_never_swallowed_and_masks_nothing(kernel: BlockingKernel) -> None:
    kernel.close()
    with pytest.raises(OSError, match="mine"), kernel.reporting("p", reraise=False):
        raise OSError("mine")


def test_what_is_wrong_is_told_when_it_is_written(kernel: BlockingKernel) -> None:
    with pytest.raises(TypeError, match="tag"):
        kernel.reporting("p", tag=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="generators can be decorated"):
        kernel.reports("p")(Path)

    async def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="generators can be decorated"):
        kernel.reports("p")(numbers)

    async def later() -> None: ...

    with pytest.raises(TypeError, match="Kernel can ask"):
        kernel.reports("p", ask=True)(later)


async def test_async_functions_and_blocks(tmp_path: Path) -> None:
    async with Kernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0) as kernel:

        @kernel.reports("copy")
        async def copy() -> None:
            await asyncio.sleep(0)
            raise OSError("x")

        with pytest.raises(OSError):
            await copy()
        async with kernel.reporting("block", reraise=False):
            raise KeyError("y")
        with contextlib.suppress(ValueError), kernel.reporting("plain code in a loop"):
            raise ValueError("z")
        with pytest.raises(TypeError, match="BlockingKernel can ask"), kernel.reporting("p", ask=True):
            pass
    assert kinds(tmp_path) == [("OSError", "copy"), ("KeyError", "block"), ("ValueError", "plain code in a loop")]


@pytest.mark.parametrize("action", [Action.CONTINUE, Action.KILL])
async def test_what_is_asked_goes_on_or_is_raised(action: Action, tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker").start()
    try:
        async with peer_kernel(broker) as peer:
            credentials = broker.credentials(tmp_path / "c.json")
            async with Kernel.from_file(credentials, journal=tmp_path / "a") as kernel:

                @kernel.reports("async", ask=True)
                async def copy() -> int:
                    raise OSError("x")

                running = asyncio.create_task(copy())
                await peer.decide((await peer.question("async")).id, action)
                (result,) = await asyncio.gather(running, return_exceptions=True)
                assert isinstance(result, OSError) if action is Action.KILL else result is None

            ended = threading.Event()
            outcome: list[object] = []

            def program() -> None:
                with BlockingKernel.from_file(credentials, journal=tmp_path / "b") as blocking:
                    try:
                        with blocking.reporting("blocking", ask=True):
                            raise OSError("x")
                        outcome.append("went on")
                    except OSError as exc:
                        outcome.append(exc)
                ended.set()

            threading.Thread(target=program, daemon=True).start()
            await peer.decide((await peer.question("blocking")).id, action)
            await eventually(ended.is_set)
            assert isinstance(outcome[0], OSError) if action is Action.KILL else outcome == ["went on"]
    finally:
        broker.stop()
