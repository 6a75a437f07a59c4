"""What a program logs becomes reports, and whatever it logs, it is none the worse for it."""

import asyncio
import logging
import logging.config
import logging.handlers
import multiprocessing
import os
import queue
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from errorkernel.domain.values import Event
from errorkernel.node import BlockingKernel, CredentialsError, Kernel, KernelHandler
from errorkernel.node.integrations import log_handler
from tests.support.node_peer import program_env, unreachable, written
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[BlockingKernel]:
    with BlockingKernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0) as opened:
        yield opened


@pytest.fixture
def handler(kernel: BlockingKernel) -> Iterator[KernelHandler]:
    made = KernelHandler(kernel)
    yield made
    made.close()


@pytest.fixture
def log(handler: KernelHandler) -> logging.Logger:
    logger = logging.Logger("app.copy", 1)  # of nobody else: pytest listens to the others
    logger.addHandler(handler)
    return logger


@pytest.fixture
def told(handler: KernelHandler, tmp_path: Path) -> Any:
    def read() -> list[Event]:
        handler.flush(PATIENCE_S)
        return written(tmp_path / "journal")

    return read


def fail() -> None:
    open("/nowhere/a.tif").close()


class Stuck:
    """Holds the thread that writes, until it is let go."""

    def __init__(self, kernel: BlockingKernel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at_it, self.go = threading.Event(), threading.Event()
        really = kernel.report_now

        def report_now(*arguments: Any) -> Any:
            self.at_it.set()
            assert self.go.wait(PATIENCE_S)
            return really(*arguments)

        monkeypatch.setattr(kernel, "report_now", report_now)


def test_levels_become_types_and_levels(log: logging.Logger, told: Any) -> None:
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    log.critical("e")
    log.log(5, "f")
    assert [(one.text, one.type.value, one.level.value) for one in told()] == [
        ("a", "info", "debug"), ("b", "info", "info"), ("c", "info", "warning"),
        ("d", "error", "error"), ("e", "error", "critical"), ("f", "info", "debug"),
    ]  # fmt: skip


def test_a_record_says_everything_that_it_holds(log: logging.Logger, told: Any) -> None:
    message = {"id": 8841, "method": "REQCopySrc"}
    try:
        fail()
    except OSError:
        log.exception(
            "copy of %s failed",
            "a.tif",
            stack_info=True,
            extra={"release": "1.4.2", "tries": 3, "ek_process": "copy-files", "ek_message": message},
        )
    before = time.time()
    (event,) = told()
    assert (event.text, event.kind, event.process) == ("copy of a.tif failed", "FileNotFoundError", "copy-files")
    assert "in fail" in event.stack
    assert "Stack (most recent call last)" in event.stack
    assert event.tags == {"logger": "app.copy", "release": "1.4.2", "tries": "3"}
    assert event.message
    assert (event.message.id, event.message.method) == ("8841", "REQCopySrc")
    assert event.fingerprint == ("app.copy", "copy of %s failed", "FileNotFoundError")
    assert event.occurred_at
    assert abs(event.occurred_at.timestamp() - before) < 30


def test_a_fingerprint_may_be_given_and_is_left_to_the_kernel_without_arguments(log: logging.Logger, told: Any) -> None:
    log.error("x", extra={"ek_fingerprint": ["copy", 7]})
    log.error("copy of 17 failed")
    assert [one.fingerprint for one in told()] == [("copy", "7"), ()]


TEMPLATES = [
    ("%s", ("disk 7 is full",), ("disk <n> is full",)),
    ("%s", (OSError("disk 7 is full"),), ("OSError: disk <n> is full",)),
    ("job %s failed: %s", ("nightly", "disk 7 is full"), ("disk <n> is full",)),
    ("job %s failed: %r.", ("nightly", ValueError("x")), ("ValueError: x",)),
    ("[%(job)s] %(why)s", ({"job": "a", "why": "no route"},), ("a", "no route")),
    ("copy of %s to %s failed", ("a.tif", "b"), ()),
    ("%d files are missing", (7,), ()),
]


@pytest.mark.parametrize(("template", "args", "causes"), TEMPLATES)
def test_arguments_that_say_the_cause_are_part_of_the_fingerprint(
    log: logging.Logger, told: Any, template: str, args: tuple[Any, ...], causes: tuple[str, ...]
) -> None:
    log.error(template, *args)
    (event,) = told()
    assert event.fingerprint == ("app.copy", template, *causes)


def test_an_exception_that_came_as_text_gives_kind_and_stack(handler: KernelHandler, told: Any) -> None:
    records: queue.Queue[Any] = queue.Queue()
    log = logging.Logger("app.copy")
    log.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    try:
        fail()
    except OSError:
        log.exception("copy of %s failed", "a.tif")
    listener.stop()
    trace = 'Traceback (most recent call last):\n  File "a.py", line 1, in work\nValueError: bad'
    handler.handle(logging.makeLogRecord({"msg": "formatted before", "levelno": 40, "exc_text": trace}))
    queued, formatted = told()
    assert (queued.text, queued.kind) == ("copy of a.tif failed", "FileNotFoundError")
    assert "in fail" in queued.stack
    assert (formatted.text, formatted.kind, formatted.stack) == ("formatted before", "ValueError", trace)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


def test_nothing_that_a_record_holds_raises(log: logging.Logger, told: Any) -> None:
    log.error("two arguments: %s %s", 1)
    log.error("a number: %d", "x")
    log.error("hostile %s", Hostile())
    log.error(Hostile())
    log.error("x", extra={"bad": Hostile(), "ek_process": Hostile(), "ek_fingerprint": [Hostile()]})
    log.error("x", extra={"ek_message": {"methd": 1}})
    log.error("x", extra={"ek_message": Hostile(), "ek_process": "  "})
    log.error("x", extra={f"tag{number}": "y" * 5000 for number in range(100)})
    log.error("\ud800 \0" + "z" * 500_000, exc_info=(None, None, None))
    log.handle(logging.makeLogRecord({"msg": "bare", "levelno": 40, "exc_info": True}))
    events = told()
    assert len(events) == 10
    assert [one.kind for one in events[:4]] == ["BadLogRecord"] * 4
    assert "test_log_handler.py" in events[0].text
    assert "two arguments: %s %s" in events[0].text
    assert "Hostile cannot be shown" in events[4].tags["bad"]
    assert "methd" in events[5].tags["ek_message"]
    assert len(events[7].tags) == 32


def test_an_exception_is_reported_once(log: logging.Logger, kernel: BlockingKernel, told: Any) -> None:
    with pytest.raises(OSError), kernel.reporting("outer"):
        try:
            fail()
        except OSError:
            log.exception("first")
            log.exception("again")
            raise
    told()  # the handler's thread has its own pace
    try:
        fail()
    except OSError as exc:
        kernel.error(exc)
        log.exception("said already")
        log.warning("an info is no report of it", exc_info=True)
        told()
        kernel.error(exc)  # whoever says it outright is obeyed
    assert [one.text.split(":")[0] for one in told()] == [
        "first", "[Errno 2] No such file or directory", "an info is no report of it",
        "[Errno 2] No such file or directory",
    ]  # fmt: skip


def test_infos_are_dropped_when_half_is_full_errors_when_all_is_and_it_is_told(
    kernel: BlockingKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = Stuck(kernel, monkeypatch)
    handler = KernelHandler(kernel, max_records=20)
    log = logging.Logger("app")
    log.addHandler(handler)
    log.info("info 0")
    assert stuck.at_it.wait(PATIENCE_S)
    for number in range(1, 30):
        log.info(f"info {number}")
    for number in range(30):
        log.error(f"error {number}")
    assert handler.dropped == 20 + 20
    stuck.go.set()
    handler.flush(PATIENCE_S)
    log.info("later")
    handler.close()
    events = written(tmp_path / "journal")
    lost = [one for one in events if one.kind == "LogRecordsLost"]
    assert [one.text for one in events if one not in lost] == [
        *(f"info {number}" for number in range(10)), *(f"error {number}" for number in range(10)), "later",
    ]  # fmt: skip
    assert [(one.type, one.level.value) for one in lost] == [("error", "warning")]
    assert lost[0].text.startswith("40 log records were lost")
    assert lost[0].tags == {"infos": "20", "errors": "20"}


def test_the_queue_is_bounded_in_size_too(kernel: BlockingKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck(kernel, monkeypatch)
    handler = KernelHandler(kernel, max_chars=100_000)
    log = logging.Logger("app")
    log.addHandler(handler)
    for _ in range(100):
        log.error("x" * 10_000)
    assert handler.dropped == 90
    stuck.go.set()
    handler.close()


def test_a_caller_does_not_wait_for_the_disk_and_the_end_waits_a_bounded_time(
    kernel: BlockingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_handler, "FLUSH_S", 0.2)
    stuck = Stuck(kernel, monkeypatch)
    handler = KernelHandler(kernel)
    log = logging.Logger("app")
    log.addHandler(handler)
    for number in range(1000):
        log.error(f"{number}")
    handler.flush(0.2)
    assert not stuck.go.is_set()
    assert handler.dropped == 0
    stuck.go.set()
    handler.close()


def test_what_the_journal_does_not_take_is_counted_and_told_when_it_does(
    kernel: BlockingKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = KernelHandler(kernel)
    log = logging.Logger("app")
    log.addHandler(handler)
    db = kernel._kernel.journal._db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0] + 40}")
    for number in range(100):
        log.error(f"{number} " + "x" * 3000)
    handler.flush(PATIENCE_S)
    lost = handler.dropped
    assert 0 < lost < 100
    db.execute("PRAGMA max_page_count = 1000000")
    log.error("it fits again")
    handler.flush(PATIENCE_S)
    told = [one for one in written(tmp_path / "journal") if one.kind == "LogRecordsLost"]
    assert sum(int(one.tags["errors"]) for one in told) == lost
    assert told[0].text.startswith(f"{told[0].tags['errors']} log records were lost")
    assert len(told) <= 3, "a count is not told for each"
    handler.close()


def test_records_of_our_own_and_of_our_threads_are_left_out(
    log: logging.Logger, kernel: BlockingKernel, handler: KernelHandler, told: Any
) -> None:
    for name in ("errorkernel.node", "nats.aio.client", "errorkernel"):
        handler.handle(logging.makeLogRecord({"name": name, "msg": "x", "levelno": 40}))
    kernel._loop.call_soon_threadsafe(log.error, "from the thread that sends")
    logging.getLogger("asyncio").addHandler(handler)
    kernel._loop.call_soon_threadsafe(lambda: 1 / 0)  # asyncio logs it
    done = threading.Event()
    kernel._loop.call_soon_threadsafe(done.set)
    assert done.wait(PATIENCE_S)
    logging.getLogger("asyncio").removeHandler(handler)
    log.error("ours")
    assert [one.text for one in told()] == ["ours"]


def test_records_of_many_threads_keep_the_order_of_each(log: logging.Logger, told: Any) -> None:
    def work(name: int) -> None:
        for number in range(200):
            log.error("%d %d", name, number)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [one.text for one in told()]
    assert len(texts) == 1000
    for name in range(5):
        assert [one for one in texts if one.startswith(f"{name} ")] == [f"{name} {number}" for number in range(200)]


async def test_it_reports_by_a_kernel_that_is_awaited(tmp_path: Path) -> None:
    async with Kernel.from_file(
        unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0, process="web"
    ) as kernel:
        handler = KernelHandler(kernel, process="shop")
        log = logging.Logger("app")
        log.addHandler(handler)
        for number in range(50):
            log.error(f"{number}")
            await asyncio.sleep(0)
        handler.close()
    log.error("after the end: nothing happens")
    events = written(tmp_path / "journal")
    assert [one.text for one in events] == [f"{number}" for number in range(50)]
    assert {one.process for one in events} == {"shop"}


def run(code: str, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env=program_env(), capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert not ok or done.returncode == 0, done.stderr
    return done


CONFIGURED = """
import atexit, logging, logging.config, os, sys
atexit.register(lambda: log.error("said last of all"))
logging.config.dictConfig({
    "version": 1,
    "handlers": {
        "kernel": {
            "class": "errorkernel.node.KernelHandler", "level": "INFO", "process": "shop",
            "credentials": sys.argv[1], "journal": sys.argv[2],
        },
    },
    "root": {"level": "DEBUG", "handlers": ["kernel"]},
})
log = logging.getLogger("app")
"""


def test_a_configured_program_says_everything_up_to_its_last_moment(tmp_path: Path) -> None:
    code = CONFIGURED + "log.debug('too low')\nfor number in range(500): log.info('%d', number)\n"
    run(code, str(unreachable(tmp_path)), str(tmp_path / "journal"))
    events = written(tmp_path / "journal")
    assert [one.text for one in events] == [*(f"{number}" for number in range(500)), "said last of all"]
    assert {one.process for one in events} == {"shop"}


def test_a_program_whose_journal_cannot_be_opened_is_told_when_it_configures(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError):
        KernelHandler(credentials=tmp_path / "none.json")
    done = run(CONFIGURED, str(tmp_path / "none.json"), str(tmp_path / "journal"), ok=False)
    assert "none.json cannot be read" in done.stderr


@pytest.mark.parametrize("end", ["logging.shutdown(); os._exit(0)", "sys.exit(0)"])
def test_a_forked_child_opens_its_own(end: str, tmp_path: Path) -> None:
    code = CONFIGURED + textwrap.dedent(f"""
        log.error("parent 1")
        child = os.fork()
        if not child:
            log.error("child")
            {end}
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        log.error("parent 2")
    """)
    run(code, str(unreachable(tmp_path)), str(tmp_path / "journal"))
    texts = [one.text for one in written(tmp_path / "journal")]
    assert texts.count("child") == 1
    assert [one for one in texts if one.startswith("parent")] == ["parent 1", "parent 2"]


def test_a_process_of_multiprocessing_says_what_it_logged(tmp_path: Path) -> None:
    code = CONFIGURED + textwrap.dedent("""
        import multiprocessing
        def work():
            for number in range(100):
                log.error("child %d", number)
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0
    """)
    run(code, str(unreachable(tmp_path)), str(tmp_path / "journal"))
    texts = [one.text for one in written(tmp_path / "journal")]
    assert texts == [*(f"child {number}" for number in range(100)), "said last of all"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_pool_that_is_terminated_lose_no_record(method: str, tmp_path: Path) -> None:
    code = CONFIGURED.replace("sys.argv", "os.environ['ARGUMENTS'].split()") + textwrap.dedent(f"""
        import multiprocessing
        def work(number):
            log.error("child %d", number)
        if __name__ == "__main__":
            with multiprocessing.get_context("{method}").Pool(3) as pool:
                pool.map(work, range(20), 1)
    """)
    (tmp_path / "pooled.py").write_text(code)
    env = {**program_env(), "ARGUMENTS": f"x {unreachable(tmp_path)} {tmp_path / 'journal'}"}
    done = subprocess.run([sys.executable, tmp_path / "pooled.py"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    texts = [event.text for event in written(tmp_path / "journal")]
    assert sorted(text for text in texts if text.startswith("child")) == sorted(f"child {n}" for n in range(20))


def test_a_forked_child_of_a_program_that_gave_its_kernel_stays_silent(
    log: logging.Logger, handler: KernelHandler, told: Any
) -> None:
    log.error("parent")
    handler.flush(PATIENCE_S)
    child = multiprocessing.get_context("fork").Process(target=log.error, args=("child",))
    child.start()
    child.join(PATIENCE_S)
    assert child.exitcode == 0
    assert [one.text for one in told()] == ["parent"]
    log.error("parent again")
    assert [one.text for one in told()] == ["parent", "parent again"]


def test_a_handler_that_is_closed_twice_or_never_used_ends_at_once(kernel: BlockingKernel) -> None:
    handler = KernelHandler(kernel)
    began = os.times().elapsed
    handler.flush()
    handler.close()
    handler.close()
    assert os.times().elapsed - began < 10
