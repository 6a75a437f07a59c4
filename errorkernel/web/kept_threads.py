"""Requests run in threads that are kept, and with them their database connections.

Django under ASGI gives each request a thread of its own and ends it afterwards, and with the thread goes the database
connection: to open SQLite's file and read its schema costs more than most pages ask of it. Here a request takes a
thread that another has finished with.

Source: https://docs.djangoproject.com/en/5.2/topics/async/#asgiref.sync.sync_to_async
"""

from concurrent.futures import ThreadPoolExecutor

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

from errorkernel.web.front import Application, Receive, Scope, Send

IDLE_THREADS = 8
"""So many are kept; more run only while more requests are under way at once."""


class KeptThreads:
    """An ASGI application around ``application``: what a request does synchronously, it does in one kept thread."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._idle: list[ThreadPoolExecutor] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
