"""Password hashing takes half a second of a processor on purpose, and anybody may ask for it: so two at a time.

All of it goes through here, whatever asks: the login page, the admin, a changed password, an unknown name. What comes
while two are under way is answered at once with 429. The threads give way to those that store events.

A transaction of SQLite keeps all others from writing, so no password is hashed in one: ``hashed_before``.

Source: https://docs.djangoproject.com/en/5.2/topics/auth/passwords/#writing-your-own-hasher
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field

from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.contrib.auth.models import AnonymousUser
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


@dataclass(frozen=True, slots=True)
class _Hashed:
    """``salt``: of a new password. ``found``: (password, salt, iterations) → hash."""

    salt: str
    found: dict[tuple[str, str, int], str] = field(default_factory=dict)


_hashed: ContextVar[_Hashed | None] = ContextVar("hashed", default=None)


@contextlib.contextmanager
def hashed_before(new: str, user: AbstractBaseUser | AnonymousUser | None = None, old: str = "") -> Iterator[None]:
    """Hash ``new``, and ``old`` as the password of ``user``; within the block neither is hashed again. Enter it before
    a transaction. Raises HashingBusy."""
    token = _hashed.set(_Hashed(PBKDF2PasswordHasher().salt()))
    try:
        if new:
            make_password(new)
        if old and user:
            user.check_password(old)
        yield
    finally:
        _hashed.reset(token)


class BoundedHasher(PBKDF2PasswordHasher):
    """Django's hasher and its format, at most ``AT_ONCE`` at the same time. Raises HashingBusy."""

    def salt(self) -> str:
        hashed = _hashed.get()
        return hashed.salt if hashed else super().salt()

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        known, key = _hashed.get(), (password, salt, iterations or self.iterations)
        if known is None:
            return self._hash(*key)
        if key not in known.found:
            known.found[key] = self._hash(*key)
        return known.found[key]

    def _hash(self, password: str, salt: str, iterations: int) -> str:
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
