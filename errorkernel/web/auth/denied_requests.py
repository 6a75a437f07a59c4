"""Requests without the right to: unknown tokens of nodes and people, failed logins. Counted, stored once a second."""

import asyncio
import logging
import threading
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.signals import user_login_failed
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest

from errorkernel.broker.credentials import digest
from errorkernel.domain.access_denials import TARGET_CHARS, Denial, DenialCounter
from errorkernel.platform import metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store.accounts import access_denials

log = logging.getLogger("errorkernel.gateway")

INTERVAL_S = 1.0

_counter = DenialCounter()
_lock = threading.Lock()


def note(address: str, target: str, token: str | None = None) -> None:
    """Somebody at ``address`` asked for ``target`` with this token, or with none. Returns at once, in any thread."""
    metrics.count_refused_attempt("http")
    claimed = f"token:{digest(token)}" if token else ""
    with _lock:
        _counter.add(Denial("http", target[:TARGET_CHARS], "", claimed, address))


async def store_forever() -> None:
    """Store what was noted, while the web process serves."""
    threads = DatabaseThreads("denials")
    try:
        while True:
            await asyncio.sleep(INTERVAL_S)
            await _store(threads)
    finally:
        threads.close()


async def _store(threads: DatabaseThreads) -> None:
    with _lock:
        noted = _counter.take()
    if not noted:
        return
    try:
        await threads.run(access_denials.record, noted, now=datetime.now(UTC))
    except (OperationalError, InterfaceError):
        log.exception("Denied requests could not be stored")


def _note_failed_login(request: HttpRequest | None = None, **_: Any) -> None:
    # Without the name: it may be a password that somebody typed into the wrong field.
    if request is not None:
        note(request.META.get("REMOTE_ADDR", ""), request.path_info)


user_login_failed.connect(_note_failed_login, dispatch_uid="denied requests")
