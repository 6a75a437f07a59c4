"""Many logins at once: two passwords are hashed, the rest is refused at once, and probes are answered meanwhile."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse

from errorkernel.bypasses.request_threads import THREADS_MAX, WAITING_MAX, KeptThreads
from errorkernel.web.auth import password_hashing
from errorkernel.web.auth.password_hashing import BoundedHasher, HashingBusy
from errorkernel.web.health.front import CHECKS, ProbesFirst
from tests.support.waiting import PATIENCE_S

PASSWORD = "correct horse battery"


def test_two_passwords_are_hashed_at_once_and_the_rest_is_refused() -> None:
    began, hashed = threading.Barrier(20), []

    def hash_one(number: int) -> str:
        began.wait(PATIENCE_S)
        try:
            return BoundedHasher().encode(f"{PASSWORD}{number}", "salt", 1_000_000)
        except HashingBusy:
            return ""

    with ThreadPoolExecutor(20) as threads:
        hashed = [one for one in threads.map(hash_one, range(20)) if one]
    assert len(hashed) == password_hashing.AT_ONCE
    assert BoundedHasher().verify(PASSWORD, BoundedHasher().encode(PASSWORD, "salt", 1000))


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["alice", "nobody-of-this-name"])
def test_a_login_that_cannot_be_checked_now_is_429(name: str) -> None:
    User.objects.create_superuser("alice", password=PASSWORD)
    form = {"username": name, "password": PASSWORD}
    for _ in range(password_hashing.AT_ONCE):
        assert password_hashing._places.acquire(timeout=PATIENCE_S)
    try:
        refused = Client().post("/login/", form)
    finally:
        for _ in range(password_hashing.AT_ONCE):
            password_hashing._places.release()
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) >= 1
    assert "Try again" in refused.content.decode()
    assert Client().post("/login/", form).status_code == (302 if name == "alice" else 200)


@pytest.mark.django_db
def test_the_own_password_is_changed_through_the_same_pool() -> None:
    person = User.objects.create_superuser("alice", password=PASSWORD)
    client = Client()
    client.force_login(person)
    new = {"old_password": PASSWORD, "new_password1": "staple of batteries", "new_password2": "staple of batteries"}
    for _ in range(password_hashing.AT_ONCE):
        assert password_hashing._places.acquire(timeout=PATIENCE_S)
    try:
        assert client.post("/admin/password_change/", new).status_code == 429
    finally:
        for _ in range(password_hashing.AT_ONCE):
            password_hashing._places.release()
    person.refresh_from_db()
    assert person.check_password(PASSWORD)


class Blocked:
    """An application whose requests end when they may."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.running = 0

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        self.running += 1
        await self.go_on.wait()


async def ask(application: object, path: str, method: str = "GET") -> tuple[int, bytes]:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await application({"type": "http", "path": path, "method": method}, None, send)  # type: ignore[operator]
    return (int(str(sent[0]["status"])), bytes(sent[1]["body"])) if sent else (0, b"")  # type: ignore[call-overload]


@pytest.mark.django_db(transaction=True)
async def test_requests_have_a_bounded_number_of_threads_and_probes_need_none() -> None:
    application = Blocked()
    front = ProbesFirst(KeptThreads(application))
    requests = [asyncio.ensure_future(ask(front, "/login/")) for _ in range(THREADS_MAX + WAITING_MAX)]
    await asyncio.sleep(0)
    assert application.running == THREADS_MAX
    assert (await ask(front, "/login/"))[0] == 503
    for path in CHECKS:
        status, body = await asyncio.wait_for(ask(front, path), PATIENCE_S)
        assert status in (200, 503)
        assert body
        assert await ask(front, path, "HEAD") == (status, b"")
    application.go_on.set()
    await asyncio.gather(*requests)
    assert application.running == THREADS_MAX + WAITING_MAX


@pytest.mark.django_db(transaction=True)
def test_no_password_is_hashed_in_a_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a third of a second, in which nobody else could write to SQLite."""
    boss, other = (User.objects.create_superuser(name, password=PASSWORD) for name in ("boss", "other"))
    hashed = []
    original = BoundedHasher._hash

    def watched(hasher: BoundedHasher, password: str, salt: str, iterations: int) -> str:
        hashed.append(connection.in_atomic_block)
        return original(hasher, password, salt, iterations)

    monkeypatch.setattr(BoundedHasher, "_hash", watched)
    client = Client()
    client.force_login(boss)
    new = {"password1": "staple of batteries", "password2": "staple of batteries", "usable_password": "true"}
    own = {"old_password": PASSWORD, "new_password1": "battery of staples", "new_password2": "battery of staples"}
    page = reverse("admin:auth_user_password_change", args=[other.pk])
    assert client.post(page, {**new, "set-password": "1"}).status_code == 302
    assert client.post(reverse("admin:auth_user_add"), {"username": "third", **new}).status_code == 302
    assert client.post(reverse("admin:password_change"), own).status_code == 302
    assert hashed == [False] * 4, "one for each new password, and the old one"
    assert User.objects.get(username="third").check_password("staple of batteries")
    other.refresh_from_db()
    boss.refresh_from_db()
    assert other.check_password("staple of batteries")
    assert boss.check_password("battery of staples")
    assert other.password.split("$")[2] != boss.password.split("$")[2], "each has its own salt"
