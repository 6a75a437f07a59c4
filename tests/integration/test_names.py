"""How many processes and problems a node creates, and how long they stay."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.test import Client

from errorkernel.domain.ids import uuid7
from errorkernel.domain.query.parse import parse
from errorkernel.domain.query.predicate import compile_predicate
from errorkernel.domain.values import Event, EventType, Heartbeat, Level, Message, ProcessReport
from errorkernel.models import (
    Comment,
    DeadLetter,
    ErrorEvent,
    ErrorState,
    Incident,
    Node,
    Problem,
    Process,
    RejectedEvent,
    Rule,
)
from errorkernel.platform import conf
from errorkernel.store.incidents import dead_letters
from errorkernel.store.ingest import event_rows, heartbeats
from errorkernel.store.ingest.batch import Batch, Recorded, record
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.ingest.name_limit import NameLimit
from errorkernel.store.platform import retention
from errorkernel.store.platform.name_retention import NameSweep
from errorkernel.store.search import to_q

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LIMIT = 5
WORDS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"]


def event(process: str, text: str, type: EventType = EventType.ERROR, **more: Any) -> Event:
    return Event(id=uuid7(), type=type, level=Level.ERROR, process=process, text=text, **more)


def take_in(cache: NameCache, *events: Event, node: str = "ship1", now: datetime = NOW) -> Recorded:
    return record(Batch(events=[(node, one) for one in events]), cache, now=now)


def flood(count: int = 10) -> list[Event]:
    return [
        event(f"worker-{WORDS[n % 10]}{n}", f"the {WORDS[n % 10]} is lost", tags={"n": str(n)}) for n in range(count)
    ]


def processes(node: str = "ship1") -> set[str]:
    return set(Process.objects.filter(node__name=node).values_list("name", flat=True))


def test_names_beyond_the_limit_of_a_node_are_counted_as_other() -> None:
    recorded = take_in(NameCache(LIMIT), *flood())
    assert processes() == {f"worker-{WORDS[n]}{n}" for n in range(LIMIT)} | {"other"}
    assert Problem.objects.count() == LIMIT + 1
    assert recorded.folded == 5
    node = Node.objects.get(name="ship1")
    assert (node.names_folded, node.names_folded_at) == (5, NOW)
    other = Process.objects.get(name="other")
    assert (other.events, other.incarnation) == (5, None)


def test_an_event_of_a_folded_process_keeps_its_name() -> None:
    recorded = take_in(NameCache(LIMIT), *flood())
    names = [f"worker-{WORDS[n]}{n}" for n in range(10)]
    assert [row.process for row in recorded.rows] == names
    assert [EventRow.of(row).process for row in event_rows.stored().order_by("seq")] == names
    for text in ("process:worker-jay9", "process:other", "-process:worker-*", "process:worker-ant0"):
        tree = parse(text)
        matches = compile_predicate(tree, NOW)
        found = set(ErrorEvent.objects.filter(to_q(tree, NOW)).values_list("seq", flat=True))
        assert found == {row.seq for row in recorded.rows if matches(row)}, text


def test_the_limit_holds_for_another_kernel_and_after_a_restart() -> None:
    first, second = NameCache(LIMIT), NameCache(LIMIT)
    take_in(first, *flood(3))
    take_in(second, *flood(3))
    take_in(first, *flood(10))
    take_in(NameCache(LIMIT), *flood(20)[10:])
    assert len(processes()) == LIMIT + 1
    assert Problem.objects.filter(first_node__name="ship1").count() == LIMIT + 1


def test_the_limit_is_of_each_node() -> None:
    cache = NameCache(LIMIT)
    take_in(cache, *flood())
    take_in(cache, event("copy", "disk full"), node="ship2")
    assert processes("ship2") == {"copy"}
    assert Problem.objects.filter(title="disk full").exists()


def test_a_node_without_room_still_reports_known_names() -> None:
    cache = NameCache(LIMIT)
    take_in(cache, *flood())
    assert take_in(cache, event("worker-ant0", "the ant is lost")).folded == 0
    assert Process.objects.get(name="worker-ant0").events == 2


def test_a_blocked_process_is_never_folded() -> None:
    cache = NameCache(LIMIT)
    take_in(cache, *flood())
    asked = event("pump", "which valve", type=EventType.ACTION)
    take_in(cache, event("pump", "which valve"), asked)
    incident = Incident.objects.get(pk=asked.id)
    assert (incident.process.name, incident.problem.title) == ("pump", "which valve")
    assert take_in(cache, event("pump", "which valve")).folded == 0


def test_error_states_of_a_node_are_limited_as_well() -> None:
    limit = 3
    cache = NameCache(limit)
    for word in WORDS[:limit]:
        take_in(cache, *(event(f"worker-{name}", f"the {word} is lost") for name in WORDS[:limit]))
    take_in(NameCache(), *(event(f"more-{n}", "the ant is lost") for n in range(30)))
    recorded = take_in(cache, *(event(f"more-{n}", "the bee is lost") for n in range(30)))
    assert recorded.folded == 30
    states = ErrorState.objects.filter(node__name="ship1")
    assert states.exclude(problem__fingerprint__startswith="other:").count() == 39


def test_different_messages_of_folded_processes_make_no_dead_letter() -> None:
    cache = NameCache(1)
    take_in(cache, event("first", "ok"))
    same = Message(id="job-1")
    take_in(cache, *(event(f"worker-{word}", f"the {word} is lost", message=same) for word in WORDS))
    assert not DeadLetter.objects.exists()


def test_dead_letters_of_a_node_are_limited_unless_a_process_is_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "KEPT_OF_A_NODE", 3)
    cache = NameCache()
    for number in range(5):
        take_in(cache, *(event("copy", "disk full", message=Message(id=f"job-{number}")) for _ in range(3)))
    take_in(cache, *(event("copy", "disk full", message=Message(id="job-9")) for _ in range(3)), node="ship2")
    last = Message(id="job-8")
    failures = [event("copy", "disk full", message=last) for _ in range(2)]
    take_in(cache, *failures, event("copy", "disk full", type=EventType.ACTION, message=last))
    kept = DeadLetter.objects.order_by("pk").values_list("process__node__name", "message__id")
    assert list(kept) == [
        ("ship1", "job-0"), ("ship1", "job-1"), ("ship1", "job-2"), ("ship2", "job-9"), ("ship1", "job-8"),
    ]  # fmt: skip


def test_a_flood_of_names_costs_fewer_statements_than_storing_them(django_assert_max_num_queries: Any) -> None:
    cache = NameCache(LIMIT)
    take_in(cache, *flood(20))
    with django_assert_max_num_queries(40):
        take_in(cache, *flood(200))


def test_known_names_cost_no_count(django_assert_num_queries: Any) -> None:
    cache, unlimited = NameCache(LIMIT), NameCache()
    for known in (cache, unlimited):
        take_in(known, *flood(LIMIT))
    counted: list[int] = []
    for known in (cache, unlimited):
        with django_assert_num_queries(counted[0]) if counted else _queries(counted):
            take_in(known, *flood(LIMIT))


class _queries:
    def __init__(self, counted: list[int]) -> None:
        from django.db import connection
        from django.test.utils import CaptureQueriesContext

        self._captured, self._counted = CaptureQueriesContext(connection), counted

    def __enter__(self) -> None:
        self._captured.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._captured.__exit__(*error)
        self._counted.append(len(self._captured))


def test_a_heartbeat_with_too_many_processes_creates_no_more_than_the_limit() -> None:
    limit = NameLimit(LIMIT)
    heartbeats.of_nodes([("ship1", Heartbeat())], now=NOW)
    reports = [ProcessReport(name=f"worker-{n}", state="running") for n in range(20)]
    heartbeats.of_processes("ship1", reports, now=NOW, limit=limit)
    heartbeats.of_processes("ship1", reports, now=NOW, limit=limit)
    assert len(processes()) == LIMIT
    assert Node.objects.get(name="ship1").names_folded_at == NOW


def test_the_page_of_the_node_shows_what_was_folded(viewer: Client) -> None:
    take_in(NameCache(LIMIT), *flood(), now=datetime.now(UTC))
    assert "5 events are counted as “other”" in viewer.get("/nodes/ship1/").content.decode().replace("\n", " ")
    assert "1 node with too many names" in viewer.get("/problems/").content.decode().replace("\n", " ")
    seq = ErrorEvent.objects.get(process_name="worker-jay9").seq
    page = viewer.get(f"/events/{seq}/").content.decode()
    assert "worker-jay9" in page
    listed = viewer.get("/events/?node=ship1&process=worker-jay9").content.decode()
    assert "the jay is lost" in listed
    assert "the hen is lost" not in listed


# The retention of names


def sweep(days: int = 100, now: datetime = NOW + timedelta(days=101)) -> None:
    names = NameSweep(days)
    while names.step(now=now):
        pass


def forget_events() -> None:
    ErrorEvent.objects.all().delete()


def test_names_that_nothing_refers_to_go_after_the_days() -> None:
    take_in(NameCache(), *flood())
    forget_events()
    sweep(now=NOW + timedelta(days=99))
    assert (Process.objects.count(), Problem.objects.count(), ErrorState.objects.count()) == (10, 10, 10)
    sweep()
    assert (Process.objects.count(), Problem.objects.count(), ErrorState.objects.count()) == (0, 0, 0)


def test_names_stay_while_their_events_are_stored() -> None:
    take_in(NameCache(), *flood())
    sweep()
    assert (Process.objects.count(), Problem.objects.count(), ErrorEvent.objects.count()) == (10, 10, 10)


def decided(problem: Problem) -> None:
    take_in(NameCache(), event("copy", problem.title, type=EventType.ACTION))


def muted(problem: Problem) -> None:
    Problem.objects.filter(pk=problem.pk).update(state="muted", state_actor="user:alice")


def resolved_once(problem: Problem) -> None:
    Problem.objects.filter(pk=problem.pk).update(resolved_count=1)


def assigned(problem: Problem) -> None:
    Problem.objects.filter(pk=problem.pk).update(assignee=get_user_model().objects.create(username="alice"))


def commented(problem: Problem) -> None:
    Comment.objects.create(problem=problem, author="user:alice", text="known", at=NOW)


def merged(problem: Problem) -> None:
    take_in(NameCache(), event("copy", "another cause"))
    Problem.objects.filter(title="another cause").update(merged_into=problem)


def ruled(problem: Problem) -> None:
    Rule.objects.create(
        name="known", position=1, condition=f"process:copy problem:{problem.pk}", action="continue", reason="known",
        author="user:alice", created_at=NOW, changed_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize("use", [decided, muted, resolved_once, assigned, commented, merged, ruled])
def test_a_problem_that_somebody_uses_stays(use: Callable[[Problem], None]) -> None:
    take_in(NameCache(), event("copy", "disk full"))
    use(Problem.objects.get(title="disk full"))
    forget_events()
    sweep()
    assert Problem.objects.filter(title="disk full").exists()


def test_the_process_of_an_incident_and_its_error_state_stay() -> None:
    take_in(NameCache(), event("copy", "disk full", type=EventType.ACTION), event("idle", "disk full"))
    forget_events()
    sweep()
    assert processes() == {"copy"}
    assert ErrorState.objects.get().process.name == "copy"


def test_a_running_process_stays() -> None:
    take_in(NameCache(), event("copy", "disk full"))
    forget_events()
    heartbeats.of_processes("ship1", [ProcessReport(name="copy", state="running")], now=NOW + timedelta(days=101))
    sweep()
    assert processes() == {"copy"}
    assert not Problem.objects.exists()


def test_a_kernel_that_remembers_a_removed_name_creates_it_again() -> None:
    cache = NameCache(LIMIT)
    take_in(cache, event("copy", "disk full"))
    forget_events()
    sweep()
    take_in(cache, event("copy", "disk full"))
    assert (processes(), Problem.objects.get().count) == ({"copy"}, 1)


def test_the_page_of_a_removed_problem_says_so(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf, "get", lambda: conf.Conf(names_keep_days=100))
    take_in(NameCache(), event("copy", "disk full"), event("copy", "no route"))
    gone, kept = Problem.objects.order_by("pk")
    commented(kept)
    forget_events()
    sweep()
    page = viewer.get(f"/problems/{gone.pk}/")
    assert page.status_code == 404
    assert f"Problem {gone.pk} was removed after 100 days without events." in page.content.decode().replace("\n", " ")
    assert "was removed" not in viewer.get(f"/problems/{kept.pk + 1000}/").content.decode()


# Rejected events


def refuse(node: str, number: int) -> None:
    RejectedEvent.objects.create(
        source=f"{node}-{number}",
        received_at=NOW,
        subject=f"ek.evt.{node}",
        node=node,
        reason="not_json",
        size=1,
        head=b"x",
    )


def test_a_flood_of_rejected_events_removes_its_own() -> None:
    for number in range(3):
        refuse("quiet", number)
    for number in range(20):
        refuse("flooding", number)
    while retention.prune_rejected_events(keep=10):
        pass
    assert RejectedEvent.objects.filter(node="quiet").count() == 3
    assert RejectedEvent.objects.filter(node="flooding").count() == 7


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("viewer"))
    return client
