"""What each bypass of Django saves, alone: processor time of the request it serves, with and without it, in turns.

``python -m tests.bench.bypasses [--keep DIR] [--rounds 9] [--requests 20] [--only PART]``. Fills a SQLite database of
its own (``--keep``: in this directory, used again the next time) with 100,000 events. A round measures *with* and
*without*, each ``--requests`` times, in an order that changes from round to round; shown are the medians over the
rounds in ms per request, the median of the differences within a round, and the difference of the rounds that were
disturbed least. Pages and clicks go through Django's test
client, in a database transaction that is rolled back; the request threads are measured at the ASGI application.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

SIZE = {"events": 100_000, "nodes": 200, "processes": 1_000, "problems": 1_000, "open": 600}
KEEP_MS = 2.0
"""What saves less for each request is not worth the internals of Django that it depends on."""


@dataclass(frozen=True, slots=True)
class Bypass:
    """``without``: puts Django's own way in its place."""

    name: str
    request: str
    do: Callable[[], object]
    without: Callable[[], AbstractContextManager[object]]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--keep", type=Path)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--requests", type=int, default=20)
    options.add_argument("--only", default="")
    given = options.parse_args()
    directory = given.keep or Path(tempfile.mkdtemp())
    os.environ.update(STEWARD_DATA_DIR=str(directory), DJANGO_SETTINGS_MODULE="steward_site.settings")
    os.environ["STEWARD_ALLOWED_HOSTS"] = "testserver"
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    import django

    django.setup()
    prepare(directory / "filled")
    from errorkernel.ops.runner.services import calm_garbage_collection

    calm_garbage_collection()
    print(f"{'':<26}{'request':<30}{'with':>8}{'without':>9}{'saves':>8}{'least':>8} ms of processor time a request")
    for bypass in bypasses():
        if given.only in bypass.name:
            compare(bypass, given.rounds, given.requests)


def prepare(mark: Path) -> None:
    """Migrate and fill, unless it was done before."""
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command
    from django.db import connection

    from tests.support.addresses import fill

    call_command("migrate", verbosity=0)
    if mark.exists():
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=OFF")
    fill(time.time(), SIZE)
    # An administrator by group: a superuser's permissions are not looked up.
    User.objects.create_user("bench").groups.set(Group.objects.all())
    mark.touch()


def compare(bypass: Bypass, rounds: int, requests: int) -> None:
    measured: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds + 1):
        arms = ("with", "without") if number % 2 else ("without", "with")
        for arm in arms:
            with bypass.without() if arm == "without" else contextlib.nullcontext():
                bypass.do()
                began = time.process_time()
                for _ in range(requests):
                    bypass.do()
                taken = (time.process_time() - began) * 1000 / requests
            if number:  # the first round warms both up
                measured[arm].append(taken)
    pairs = zip(measured["with"], measured["without"], strict=True)
    saves = statistics.median(without - with_ for with_, without in pairs)
    with_, without = (statistics.median(measured[arm]) for arm in ("with", "without"))
    least = min(measured["without"]) - min(measured["with"])
    verdict = "keep" if saves >= KEEP_MS else "remove"
    numbers = f"{with_:8.2f}{without:9.2f}{saves:8.2f}{least:8.2f}"
    print(f"{bypass.name:<26}{bypass.request:<30}{numbers}  {verdict}", flush=True)


def bypasses() -> Iterator[Bypass]:
    from django.contrib.auth.models import User
    from django.test import Client

    from errorkernel.models import ErrorEvent, Incident

    user = User.objects.get(username="bench")
    client = Client()
    client.force_login(user)
    incident = Incident.objects.filter(state="open").order_by("seq").values_list("pk", flat=True)[0]
    problem = ErrorEvent.objects.order_by("-seq").values_list("problem_id", flat=True)[0]

    def page(address: str) -> Callable[[], object]:
        def get() -> None:
            answer = client.get(address)
            assert answer.status_code == 200, answer.status_code
            if answer.streaming:
                answer.getvalue()

        return get

    small = f"/incidents/{incident}/"
    yield Bypass("session and permissions", "page of an incident", page(small), django_sessions)
    yield Bypass("session and permissions", "click: decide", click(client), django_sessions)
    yield Bypass("request threads", "page of an incident, ASGI", asgi(client, small, kept=True), lambda: plain_asgi())
    yield Bypass("SQL of a decision", "click: decide", click(client), django_decision)
    yield Bypass("system status", "page of an incident", page(small), django_system_status)
    yield Bypass("pending incidents", "live page", page("/"), django_pending)
    yield Bypass("decisions of 30 days", "overview", page("/overview/?range=30d"), django_decisions)
    yield Bypass("newest of a problem", "page of a problem", page(f"/problems/{problem}/"), django_newest)
    yield Bypass("translate tag", "live page", page("/"), django_translate)
    yield Bypass("translate tag", "list of problems", page("/problems/"), django_translate)
    yield Bypass("translate tag", "list of nodes", page("/nodes/"), django_translate)
    yield Bypass("addresses in rows", "list of events", page("/events/"), django_addresses)
    yield Bypass("addresses in rows", "list of problems", page("/problems/"), django_addresses)
    yield Bypass("event rows as values", "list of events", page("/events/"), django_event_rows)


def click(client: Any) -> Callable[[], object]:
    """The same click again and again: what it writes is rolled back."""
    from django.db import transaction

    from errorkernel.models import Incident

    incident = Incident.objects.filter(state="open").order_by("seq").values_list("pk", flat=True)[3]
    headers = {"X-Steward-Card": "1"}

    def post() -> None:
        with transaction.atomic():
            form = {"action": "continue", "request_id": str(uuid.uuid4())}
            answer = client.post(f"/incidents/{incident}/decide/", form, headers=headers)
            assert answer.status_code == 200, answer.status_code
            transaction.set_rollback(True)

    return post


_asgi_choice: dict[str, Any] = {}


def asgi(client: Any, address: str, *, kept: bool) -> Callable[[], object]:
    """A request to the ASGI application, without a server."""
    from django.core.handlers.asgi import ASGIHandler
    from django.core.signals import request_started
    from django.db import close_old_connections, reset_queries

    from errorkernel.bypasses.request_threads import Django, KeptThreads

    ours = KeptThreads(Django())
    for receiver in (reset_queries, close_old_connections):
        request_started.connect(receiver)
    _asgi_choice.update(ours=ours, django=ASGIHandler(), now=ours)
    loop = asyncio.new_event_loop()
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": address, "raw_path": address.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"testserver"), (b"cookie", cookie.encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip

    async def request() -> None:
        told: list[int] = []
        sent = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            return sent.pop() if sent else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told.append(message["status"])

        await _asgi_choice["now"](dict(scope), receive, send)
        assert told == [200], told

    def get() -> None:
        if _asgi_choice["now"] is ours:
            for receiver in (reset_queries, close_old_connections):
                request_started.disconnect(receiver)
        loop.run_until_complete(request())

    return get


@contextlib.contextmanager
def plain_asgi() -> Iterator[None]:
    from django.core.signals import request_started
    from django.db import close_old_connections, reset_queries

    for receiver in (reset_queries, close_old_connections):
        request_started.connect(receiver)
    _asgi_choice["now"] = _asgi_choice["django"]
    try:
        yield
    finally:
        _asgi_choice["now"] = _asgi_choice["ours"]


@contextlib.contextmanager
def patched(*patches: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield


def django_sessions() -> AbstractContextManager[object]:
    from django.contrib.auth.backends import ModelBackend
    from django.contrib.sessions.backends import db

    from errorkernel.bypasses import sessions

    return patched(
        mock.patch.object(sessions.SessionStore, "load", db.SessionStore.load),
        mock.patch.object(sessions.Backend, "get_user", ModelBackend.get_user),
        mock.patch.object(sessions.Backend, "get_all_permissions", ModelBackend.get_all_permissions),
    )


def django_decision() -> AbstractContextManager[object]:
    from django.db.models import F

    from errorkernel.bypasses import decision_queries
    from errorkernel.models import Counter, Incident

    def blocked_process(incident: Any) -> Any:
        return decision_queries.BlockedProcess(
            *Incident.objects.values_list("node__name", "process__name", "incarnation").get(pk=incident)
        )

    def any_unevaluated() -> bool:
        return Incident.objects.filter(rules_evaluated=False).exists()

    def move(incident: Any, before: str, after: str) -> bool:
        return bool(Incident.objects.filter(pk=incident, state=before).update(state=after))

    def number_changes(incidents: Any) -> None:
        last = Counter.objects.values_list("value", flat=True).get(name=Counter.CHANGES)
        for number, one in enumerate(incidents, last - len(incidents) + 1):
            Incident.objects.filter(pk=one).update(change=F("change") * 0 + number)

    new = {
        "blocked_process": blocked_process,
        "any_unevaluated": any_unevaluated,
        "move": move,
        "number_changes": number_changes,
    }
    return patched(*(mock.patch.object(decision_queries, name, each) for name, each in new.items()))


def django_system_status() -> AbstractContextManager[object]:
    from django.db.models import Count, Max, Q, Sum

    from errorkernel.bypasses import status_queries
    from errorkernel.models import BrokerStream, Incident, KernelHeartbeat, Node, Rule

    def newest_heartbeats(limit: int) -> list[Any]:
        columns = ("at", "broker_connected", "broker_connected_since", "lag", "broker_error")
        newest = KernelHeartbeat.objects.order_by("-at").values_list(*columns)[:limit]
        return [status_queries.Heartbeat(*row) for row in newest]

    def read_numbers(now: Any) -> Any:
        suspended = Rule.objects.filter(enabled=True, removed_at__isnull=True, suspended_at__isnull=False)
        streams = BrokerStream.objects.aggregate(unstored=Sum("unstored"), fill_ratio=Max("fill_ratio"))
        of_nodes = Node.objects.filter(enabled=True).aggregate(
            all=Count("pk"),
            late=Count("pk", filter=Q(late_at__lte=now, gone_at__gt=now)),
            gone=Count("pk", filter=Q(gone_at__lte=now)),
        )
        pending = Incident.objects.filter(state="open").count()
        return status_queries.Numbers(pending, suspended.count(), *streams.values(), *of_nodes.values())

    new = {"newest_heartbeats": newest_heartbeats, "read_numbers": read_numbers}
    return patched(*(mock.patch.object(status_queries, name, each) for name, each in new.items()))


def django_pending() -> AbstractContextManager[object]:
    from django.db.models.functions import Coalesce

    from errorkernel.bypasses import page_queries
    from errorkernel.models import Incident

    def open_incidents(now: Any, limit: int) -> Any:
        rows = Incident.objects.filter(state="open").order_by("opened_at", "pk")
        whole = Coalesce("problem__merged_into_id", "problem_id")
        found = rows.values_list("pk", "opened_at", whole)[:limit]
        return [page_queries.PendingRow(pk, (now - at).total_seconds(), problem) for pk, at, problem in found]

    return mock.patch.object(page_queries, "open_incidents", open_incidents)


def django_decisions() -> AbstractContextManager[object]:
    from django.db.models import OuterRef, Subquery

    from errorkernel.bypasses import page_queries
    from errorkernel.models import Decision, Incident

    def decisions(since: Any, limit: int) -> Any:
        again = Incident.objects.filter(
            process=OuterRef("incident__process"),
            problem=OuterRef("incident__problem"),
            seq__gt=OuterRef("incident__seq"),
        ).order_by("seq")
        wanted = Decision.objects.filter(decided_at__gte=since).order_by("-decided_at")
        columns = ("action", "actor", "decided_at", "incident__opened_at", "incident__state", "incident__ended_at")
        rows = wanted.values_list(*columns, Subquery(again.values("opened_at")[:1]))[:limit]
        return [page_queries.DecisionRow(*row) for row in rows]

    return mock.patch.object(page_queries, "decisions", decisions)


def django_newest() -> AbstractContextManager[object]:
    from errorkernel.bypasses import page_queries
    from errorkernel.models import ErrorEvent

    def newest_events(problems: Any, most: int) -> list[int]:
        of_these = ErrorEvent.objects.filter(problem__in=problems).order_by("-seq")
        return list(of_these.values_list("seq", flat=True)[:most])

    return mock.patch.object(page_queries, "newest_events", newest_events)


def django_translate() -> AbstractContextManager[object]:
    from errorkernel.templatetags.translation import WrittenText

    def render(self: Any, context: Any) -> Any:
        return self._node.render(context)

    return mock.patch.object(WrittenText, "render", render)


ADDRESSES = {
    "/events/{{ event.seq }}/": "{% url 'event' event.seq %}",
    "/incidents/{{ event.id }}/": "{% url 'incident' event.id %}",
    "/problems/{{ one.pk }}/": "{% url 'problem' one.pk %}",
}


@contextlib.contextmanager
def django_addresses() -> Iterator[None]:
    """The templates with ``{% url %}`` in the places of addresses that are written down."""
    from django.template import engines
    from django.template.loaders import filesystem

    of_file = filesystem.Loader.get_contents

    def get_contents(self: Any, origin: Any) -> str:
        text = of_file(self, origin)
        for written, reversed_ in ADDRESSES.items():
            text = text.replace(written, reversed_)
        return text

    loaders = engines["django"].engine.template_loaders  # type: ignore[attr-defined]
    if "plain" not in _caches:
        _caches["plain"] = loaders[0].get_template_cache
    loaders[0].get_template_cache = _caches.setdefault("url", {})
    try:
        with mock.patch.object(filesystem.Loader, "get_contents", get_contents):
            yield
    finally:
        loaders[0].get_template_cache = _caches["plain"]


_caches: dict[str, Any] = {}


def django_event_rows() -> AbstractContextManager[object]:
    from errorkernel.models import ErrorEvent
    from errorkernel.store.ingest import event_rows
    from errorkernel.web.console import event_list

    def stored(**more: Any) -> Any:
        wanted = ErrorEvent.objects.annotate(**more).select_related("node", "process", "problem")
        return wanted.defer("stack").order_by("-seq")

    def of(cls: Any, found: Any) -> Any:
        return event_rows.EventRow(
            seq=found.seq, id=found.id, type=found.type, level=found.level, node=found.node.name,
            process=found.process.name, incarnation=found.incarnation, kind=found.kind, text=found.text,
            message=found.message, occurred_at=found.occurred_at, received_at=found.received_at,
            problem=found.problem_id, whole=found.problem.merged_into_id or found.problem_id,
            incident=found.id if found.type == "action" else None, repeat=found.repeat,
            relay_from_node=found.relay_from_node,
        )  # fmt: skip

    return patched(
        mock.patch.object(event_list, "stored", stored), mock.patch.object(event_rows.EventRow, "of", classmethod(of))
    )


if __name__ == "__main__":
    main()
