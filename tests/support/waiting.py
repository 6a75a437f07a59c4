"""Waiting for what another process or task does, as long as a machine under load needs: a quick one costs nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 120.0
"""Programs that start and messages that travel take so long on two cores that run 15 programs besides."""


def wait_for(found: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """What ``found`` returns as soon as it is true. Raises AssertionError with its name after the time."""
    deadline = time.monotonic() + timeout_s
    while True:
        if result := found():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(_failure(found, timeout_s))
        time.sleep(0.02)


async def eventually(found: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The same for tests with an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + timeout_s
    while True:
        if result := found():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(_failure(found, timeout_s))
        await asyncio.sleep(0.02)


def _failure(found: Callable[[], Any], timeout_s: float) -> str:
    code = getattr(found, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{getattr(found, '__name__', found)}{place} did not come true within {timeout_s:g} s"
