"""Waiting for what another process or task does, as long as a machine under load needs: a quick one costs nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 120.0
"""Programs that start and messages that travel take so long on two cores that run 15 programs besides."""


CHECK_S = 0.02
CHECK_MAX_S = 0.25
"""A check is often a request to a product that has the same two cores: who has waited for long checks less often."""


def wait_for(found: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """What ``found`` returns as soon as it is true. Raises AssertionError with its name after the time."""
    began = time.monotonic()
    while True:
        if result := found():
            return result
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise AssertionError(_failure(found, timeout_s))
        time.sleep(_pause_s(waited_s))


async def eventually(found: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The same for tests with an event loop, which goes on meanwhile."""
    began = time.monotonic()
    while True:
        if result := found():
            return result
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise AssertionError(_failure(found, timeout_s))
        await asyncio.sleep(_pause_s(waited_s))


def _pause_s(waited_s: float) -> float:
    return min(max(CHECK_S, waited_s / 8), CHECK_MAX_S)


def _failure(found: Callable[[], Any], timeout_s: float) -> str:
    code = getattr(found, "__code__", None)
    place = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{getattr(found, '__name__', found)}{place} did not come true within {timeout_s:g} s"
