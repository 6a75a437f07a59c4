"""What requests do synchronously, they do in threads that are kept, each with its database connection."""

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connection

from errorkernel.bypasses.request_threads import IDLE_THREADS, KeptThreads

pytestmark = pytest.mark.django_db(transaction=True)


class Application:
    """As Django's handler goes about a request; notes the thread and the connection of each."""

    def __init__(self) -> None:
        self.seen: list[tuple[threading.Thread, Any]] = []
        self.go_on = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with ThreadSensitiveContext():
            first = await sync_to_async(self._look)()
            assert await sync_to_async(self._look)() == first
            await sync_to_async(self.go_on.wait)(20)
            self.seen.append(first)
        if scope.get("fails"):
            raise RuntimeError("as a view might")

    def _look(self) -> tuple[threading.Thread, Any]:
        connection.ensure_connection()
        return threading.current_thread(), connection.connection


async def nothing(*_: Any) -> None: ...


async def test_a_request_takes_the_thread_and_the_connection_of_the_one_before_also_of_one_that_failed() -> None:
    application = Application()
    application.go_on.set()
    kept = KeptThreads(application)
    await kept({}, nothing, nothing)
    with pytest.raises(RuntimeError):
        await kept({"fails": True}, nothing, nothing)
    await kept({}, nothing, nothing)
    assert len({id(thread) for thread, _ in application.seen}) == 1
    assert len({id(opened) for _, opened in application.seen}) == 1


async def test_requests_at_once_have_threads_of_their_own_and_what_is_too_many_ends_afterwards() -> None:
    application = Application()
    kept = KeptThreads(application)
    requests = [asyncio.ensure_future(kept({}, nothing, nothing)) for _ in range(IDLE_THREADS + 4)]
    while len([one for one in threading.enumerate() if one.name.startswith("request")]) < len(requests):
        await asyncio.sleep(0.01)
    application.go_on.set()
    await asyncio.gather(*requests)
    threads = [thread for thread, _ in application.seen]
    assert len({id(thread) for thread in threads}) == len(requests)
    ended = [thread for thread in threads if not await asyncio.to_thread(_lives_on, thread)]
    assert len(ended) == 4


def _lives_on(thread: threading.Thread) -> bool:
    thread.join(0.5)
    return thread.is_alive()
