"""What nobody caught is in the journal, once, and what the program prints is what it always printed."""

import asyncio
import gc
import json
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from errorkernel.domain.values import Event
from errorkernel.node import BlockingKernel, Kernel, install_hooks
from tests.support.node_peer import program_env, unreachable, written
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[BlockingKernel]:
    with BlockingKernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0) as opened:
        yield opened


def run(tmp_path: Path, code: str) -> tuple[subprocess.CompletedProcess[str], list[Event]]:
    """A program with ``path`` and ``journal``, to its end."""
    head = f"""
        import asyncio, sys, threading
        from errorkernel.node import BlockingKernel, Kernel, install_hooks
        path, journal = {str(unreachable(tmp_path))!r}, {str(tmp_path / "journal")!r}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)],
        env=program_env(), capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    return done, written(tmp_path / "journal") if (tmp_path / "journal").exists() else []


def test_what_ends_a_program_is_reported_by_the_dying_thread_and_printed_as_ever(tmp_path: Path) -> None:
    done, events = run(
        tmp_path,
        """
        install_hooks(BlockingKernel.from_file(path, journal=journal), process="backup")
        def work(): raise OSError("no space left")
        thread = threading.Thread(target=work, name="copier")
        thread.start()
        thread.join()
        1 / 0
        """,
    )
    assert done.returncode == 1
    assert "Exception in thread copier" in done.stderr
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert [(one.kind, one.level.value, one.process) for one in events] == [
        ("OSError", "error", "backup"), ("ZeroDivisionError", "critical", "backup"),
    ]  # fmt: skip
    assert events[0].tags == {"thread": "copier"}


@pytest.mark.parametrize(
    "code",
    [
        """
        with BlockingKernel.from_file(path, journal=journal) as kernel:
            install_hooks(kernel)
            1 / 0
        """,
        """
        async def main():
            async with Kernel.from_file(path, journal=journal) as kernel:
                install_hooks(kernel)
                1 / 0
        asyncio.run(main())
        """,
        """
        kernel = BlockingKernel.from_file(path, journal=journal)
        install_hooks(kernel)
        @kernel.reports()
        def work(): 1 / 0
        work()
        """,
    ],
)
def test_what_leaves_the_with_of_its_kernel_is_reported_there_and_once(code: str, tmp_path: Path) -> None:
    done, events = run(tmp_path, code)
    assert done.returncode == 1
    assert [one.kind for one in events] == ["ZeroDivisionError"]


@pytest.mark.parametrize(("ending", "status"), [("raise KeyboardInterrupt", -2), ("sys.exit(3)", 3)])
def test_an_interrupt_and_an_exit_are_no_errors(ending: str, status: int, tmp_path: Path) -> None:
    done, events = run(tmp_path, f"install_hooks(BlockingKernel.from_file(path, journal=journal))\n{ending}")
    assert done.returncode == status
    assert events == []


def test_a_report_that_fails_changes_nothing_of_the_end(tmp_path: Path) -> None:
    done, events = run(
        tmp_path,
        """
        kernel = BlockingKernel.from_file(path, journal=journal)
        install_hooks(kernel)
        kernel.close()
        1 / 0
        """,
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")
    assert events == []


def test_what_python_cannot_raise_is_reported(kernel: BlockingKernel, tmp_path: Path) -> None:
    class Broken:
        def __del__(self) -> None:
            raise OSError("at the end")

    passed: list[object] = []
    former, sys.unraisablehook = sys.unraisablehook, passed.append
    try:
        with install_hooks(kernel):
            Broken()
            gc.collect()
        Broken()
    finally:
        sys.unraisablehook = former
    assert len(passed) == 2, "the former hook is called, with ours and without"
    (event,) = written(tmp_path / "journal")
    assert (event.kind, event.text) == ("OSError", "at the end")
    assert "__del__" in event.tags["in"]


async def test_a_task_that_nobody_asked_is_reported(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    passed: list[dict[str, object]] = []
    loop.set_exception_handler(lambda loop, context: passed.append(context))
    former = loop.get_exception_handler()
    async with Kernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0) as kernel:
        with install_hooks(kernel, process="web"):

            async def fail() -> None:
                raise OSError("nobody looks")

            task = asyncio.create_task(fail(), name="copier")
            await asyncio.wait([task])
            del task
            gc.collect()
            loop.call_exception_handler({"message": "only a text"})
        assert loop.get_exception_handler() is former
    assert len(passed) == 2
    events = written(tmp_path / "journal")
    assert [(one.text, one.process) for one in events] == [("nobody looks", "web"), ("only a text", "web")]
    assert events[0].tags == {"task": "copier", "python": "Task exception was never retrieved"}


def test_hooks_are_taken_out_and_one_that_was_set_later_stays(kernel: BlockingKernel) -> None:
    formers = (sys.excepthook, threading.excepthook, sys.unraisablehook, kernel.on_failure)
    hooks = install_hooks(kernel)
    second = install_hooks(kernel)
    hooks.uninstall()
    assert sys.excepthook is not formers[0], "the second one's"
    second.uninstall()
    hooks.uninstall()
    assert threading.excepthook is not None
    sys.excepthook, threading.excepthook, sys.unraisablehook, kernel.on_failure = formers


@pytest.mark.slow
def test_the_operators_read_what_a_program_logged_raised_and_died_of(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    try:
        credentials = tmp_path / "ship1.json"
        credentials.write_text(json.dumps(product.add_node("ship1")))
        code = f"""
            import logging
            from errorkernel.node import BlockingKernel, KernelHandler, install_hooks
            kernel = BlockingKernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}, process="copy")
            logging.getLogger().addHandler(KernelHandler(kernel))
            install_hooks(kernel)
            logging.error("copy of %d charts failed", 3)
            with kernel.reporting(reraise=False):
                raise KeyError("chart")
            1 / 0
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=program_env(), timeout=PATIENCE_S)
        assert done.returncode == 1
        # It may have died before it was connected: then its next start sends what it left.
        again = f"""
            from errorkernel.node import BlockingKernel
            with BlockingKernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}) as kernel:
                kernel.flush(30)
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(again)], env=program_env(), timeout=PATIENCE_S)
        assert done.returncode == 0
        token = product.token()

        def arrived() -> list[tuple[str, str]]:
            _, found = product.call("/api/v1/events?limit=50", token)
            events = [(one["text"], one["level"]) for one in found["items"] if one["process"] == "copy"]
            return sorted(events) if len(events) >= 3 else []

        assert wait_for(arrived) == [
            ("'chart'", "error"), ("copy of 3 charts failed", "error"), ("division by zero", "critical"),
        ]  # fmt: skip
    finally:
        product.stop()
