"""Password hashing takes half a second of a processor on purpose, and anybody may ask for it: so two at a time.

All of it goes through here, whatever asks: the login page, the admin, a changed password, an unknown name. What comes
while two are under way is answered at once with 429. The threads give way to those that store events.

Source: https://docs.djangoproject.com/en/5.2/topics/auth/passwords/#writing-your-own-hasher
"""

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

AT_ONCE = 2
RETRY_AFTER_S = 2
NICENESS = 5
"""How far these threads stand back; Linux has a priority for each thread."""


class HashingBusy(Exception):
    """As many passwords are being hashed as may be at once."""


def _stand_back() -> None:
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


_places = threading.BoundedSemaphore(AT_ONCE)
_threads = ThreadPoolExecutor(AT_ONCE, "password", initializer=_stand_back)


class BoundedHasher(PBKDF2PasswordHasher):
    """Django's hasher and its format, at most ``AT_ONCE`` at the same time. Raises HashingBusy."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        if not _places.acquire(blocking=False):
            raise HashingBusy
        try:
            return _threads.submit(super().encode, password, salt, iterations).result()
        finally:
            _places.release()


class AnswerBusy:
    """Middleware: 429 where a password could not be hashed now."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, HashingBusy):
            return None
        response = render(request, "429.html", status=429)
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return response
