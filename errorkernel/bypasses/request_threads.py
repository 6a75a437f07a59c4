"""A request runs in one thread from its first middleware to its last, and the thread is kept for the next one.

Django under ASGI gives each request a thread of its own and ends it afterwards, and with the thread goes the database
connection: to open SQLite's file and read its schema costs more than most pages ask of it. And it runs middleware in
the event loop where it can, which changes to that thread and back for each of them, twice. Views here are synchronous,
so all of that is one change of threads.

Source: https://docs.djangoproject.com/en/5.2/topics/async/#async-views
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, connections, reset_queries
from django.http import HttpRequest
from django.http.response import HttpResponseBase

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

IDLE_THREADS = 8
"""So many are kept; more run only while more requests are under way at once."""
THREADS_MAX = 16
"""Requests that run at once: each has a connection to the database. Others wait for their turn in the event loop."""
WAITING_MAX = 500
"""Requests that wait for a thread; more are answered with 503."""
RETRY_AFTER_S = 2


class KeptThreads:
    """An ASGI application around ``application``: synchronous work of a request runs in one kept thread."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._idle: list[ThreadPoolExecutor] = []
        self._places = asyncio.Semaphore(THREADS_MAX)
        self._waiting = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if self._waiting >= WAITING_MAX:
            await _refuse(send)
            return
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            await self._run(scope, receive, send)
        finally:
            self._places.release()

    async def _run(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        thread = self._idle.pop() if self._idle else ThreadPoolExecutor(1, thread_name_prefix="request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self._application(scope, receive, send)
        finally:
            if len(self._idle) < IDLE_THREADS:
                self._idle.append(thread)
            else:
                thread.submit(connections.close_all)
                thread.shutdown(wait=False)


async def _refuse(send: Any) -> None:
    headers = [
        (b"retry-after", b"%d" % RETRY_AFTER_S),
        (b"content-type", b"text/plain"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b"Too many requests wait here; try again in a moment."})


class Django(ASGIHandler):
    """Django's own handler with middleware and views in the request's thread, and the connection's preparation."""

    def __init__(self) -> None:
        super().__init__()
        # Sent from the event loop, for which each request would change threads once more.
        for each in (reset_queries, close_old_connections):
            request_started.disconnect(each)

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self._respond)(request)

    def _respond(self, request: HttpRequest) -> HttpResponseBase:
        reset_queries()
        close_old_connections()
        return self.get_response(request)
