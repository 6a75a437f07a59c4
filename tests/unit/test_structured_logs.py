"""What programs log with structlog and loguru, set up as their documentation says, becomes the same events."""

import logging
import logging.handlers
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import loguru
import pytest
import structlog

from errorkernel.domain.values import Event
from errorkernel.node import BlockingKernel, KernelHandler
from tests.support.node_peer import unreachable, written
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def handler(tmp_path: Path) -> Iterator[KernelHandler]:
    with BlockingKernel.from_file(unreachable(tmp_path), journal=tmp_path / "journal", close_wait_s=0) as kernel:
        made = KernelHandler(kernel)
        yield made
        made.close()


@pytest.fixture
def told(handler: KernelHandler, tmp_path: Path) -> Any:
    def read() -> list[Event]:
        handler.flush(PATIENCE_S)
        return written(tmp_path / "journal")

    return read


@pytest.fixture
def logger(handler: KernelHandler) -> logging.Logger:
    made = logging.Logger("app.copy", 1)
    made.addHandler(handler)
    return made


SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso"),
    structlog.processors.CallsiteParameterAdder({structlog.processors.CallsiteParameter.FILENAME}),
]
STRUCTLOG: dict[str, list[Any]] = {
    "ProcessorFormatter": [structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    "JSONRenderer": [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
    "dict_tracebacks": [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()],
}
"""The ways to ``logging`` of https://www.structlog.org/en/stable/standard-library.html."""


@pytest.fixture(params=STRUCTLOG)
def struct(request: pytest.FixtureRequest, logger: logging.Logger) -> Iterator[Any]:
    structlog.configure(
        processors=[*SHARED, *STRUCTLOG[request.param]],
        logger_factory=lambda *names: logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    yield structlog.get_logger()
    structlog.reset_defaults()


def fail() -> None:
    open("/nowhere/a.tif").close()


def test_structlog_gives_text_fields_and_process(struct: Any, told: Any) -> None:
    with structlog.contextvars.bound_contextvars(voyage=12):
        struct.bind(release="1.4.2").error("copy failed", path="/data/a.tif", ek_process="copy-files")
    struct.warning("nearly full", percent=91)
    failed, full = told()
    assert (failed.text, failed.type.value, failed.process) == ("copy failed", "error", "copy-files")
    assert failed.tags == {
        "logger": "app.copy", "voyage": "12", "release": "1.4.2", "path": "/data/a.tif",
        "filename": "test_structured_logs.py",
    }  # fmt: skip
    assert (full.text, full.type.value, full.level.value) == ("nearly full", "info", "warning")


@pytest.mark.parametrize("how", ["exception", "error"])
def test_structlog_gives_kind_and_stack_of_an_exception(struct: Any, told: Any, how: str) -> None:
    try:
        fail()
    except OSError as exc:
        struct.exception("copy failed") if how == "exception" else struct.error("copy failed", exc_info=exc)
    (event,) = told()
    assert (event.text, event.kind) == ("copy failed", "FileNotFoundError")
    assert "in fail" in event.stack
    assert "exception" not in event.tags


def test_two_causes_under_one_event_of_structlog_are_two_problems(struct: Any, told: Any) -> None:
    struct.error("job failed", job="nightly", error="disk 7 is full")
    struct.error("job failed", job="weekly", error="disk 8 is full")
    struct.error("job failed", job="nightly", error="no route")
    first, second, other = (event.fingerprint for event in told())
    assert first == second == ("app.copy", "job failed", "disk <n> is full")
    assert other == ("app.copy", "job failed", "no route")


def test_structlog_with_keyword_arguments_for_logging(logger: logging.Logger, told: Any) -> None:
    structlog.configure(
        processors=[*SHARED[:1], structlog.stdlib.render_to_log_kwargs],
        logger_factory=lambda *names: logger,
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    structlog.get_logger().error("copy failed", path="/a")
    structlog.reset_defaults()
    (event,) = told()
    assert (event.text, event.tags["path"]) == ("copy failed", "/a")


def test_structlog_by_a_queue(struct: Any, logger: logging.Logger, handler: KernelHandler, told: Any) -> None:
    """``QueueHandler`` makes a text of every message, with the traceback below it."""
    records: queue.Queue[Any] = queue.Queue()
    logger.removeHandler(handler)
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener = logging.handlers.QueueListener(records, handler)
    listener.start()
    struct.error("copy failed", path="/a")
    try:
        fail()
    except OSError:
        struct.exception("copy failed", path="/b")
    listener.stop()
    failed, raised = told()
    assert (failed.text, failed.tags["path"]) == ("copy failed", "/a")
    assert (raised.text, raised.kind, raised.tags["path"]) == ("copy failed", "FileNotFoundError", "/b")
    assert "in fail" in raised.stack


@pytest.fixture
def loguru_logger(handler: KernelHandler) -> Iterator[Any]:
    loguru.logger.remove()
    yield loguru.logger
    loguru.logger.remove()


@pytest.mark.parametrize("options", [{}, {"format": "{message}"}, {"format": "{message}", "backtrace": False}])
def test_loguru_gives_text_fields_and_exception(
    loguru_logger: Any, handler: KernelHandler, told: Any, options: dict[str, Any]
) -> None:
    loguru_logger.add(handler, **options)
    loguru_logger.bind(path="/data/a.tif", ek_process="copy-files").error("copy {} failed", "a.tif")
    password = "secret"
    try:
        fail() if password else None
    except OSError:
        loguru_logger.exception("copy failed")
    loguru_logger.warning("nearly | full - 91 %")
    loguru_logger.success("done")
    failed, raised, full, done = told()
    assert (failed.text, failed.process, failed.tags["path"]) == ("copy a.tif failed", "copy-files", "/data/a.tif")
    assert "extra" not in failed.tags
    assert (raised.text, raised.kind) == ("copy failed", "FileNotFoundError")
    assert "in fail" in raised.stack
    assert "secret" not in raised.text + raised.stack
    assert (full.text, full.level.value) == ("nearly | full - 91 %", "warning")
    assert (done.text, done.type.value) == ("done", "info")


def test_loguru_by_way_of_logging(loguru_logger: Any, logger: logging.Logger, told: Any) -> None:
    """https://loguru.readthedocs.io/en/stable/overview.html#entirely-compatible-with-standard-logging"""

    class PropagateHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.handle(record)

    loguru_logger.add(PropagateHandler(), format="{message}")
    loguru_logger.bind(path="/a").error("copy failed")
    (event,) = told()
    assert (event.text, event.tags["path"]) == ("copy failed", "/a")


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


@pytest.mark.parametrize(
    "message",
    [
        {"event": Hostile()}, {"event": None, "error": Hostile()}, {"event": "x", "exc_info": 7, "exception": [1]},
        {"event": "x", "exception": [{"frames": [1]}]}, '{"event": "x", "exception": [{"frames": 7}]}',
        '{"event": ' + "[" * 5000, "{'event': " + "[" * 5000, "{'event': open('/etc/passwd')}",
        '{"event"', '{"event": 7, "ek_message": {"methd": 1}, "ek_process": " "}',
    ],
)  # fmt: skip
def test_nothing_that_a_structured_record_holds_raises(logger: logging.Logger, told: Any, message: Any) -> None:
    logger.error(message)
    logger.handle(logging.makeLogRecord({"msg": message, "levelno": 40, "extra": {"x": Hostile()}}))
    assert len(told()) == 2
