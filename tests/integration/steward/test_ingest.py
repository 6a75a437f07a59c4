"""Errors of Steward and ctrl nodes in the database: what is one failure, and what is known of it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from errorkernel.domain.limits import Limits
from errorkernel.models import ErrorEvent
from errorkernel.senders.steward.protocol import event_mapping
from errorkernel.senders.steward.store import ingest
from errorkernel.senders.steward.store.ingest import Arrival, Memory
from errorkernel.store.ingest.name_cache import NameCache
from tests.support.steward.peer import SEED, STEW, StewardPeer, Version

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TEXT = "error: methodREQHttpGet: method timed out: [http://h/]"
UNKNOWN = "no such request type defined: REQNope"


class Arrivals:
    """What a node sends, stored as a kernel does. Times are seconds after NOW."""

    def __init__(self, version: Version, *, ack_timeout: int = 5, zone: timedelta = timedelta(0)) -> None:
        self._peer = StewardPeer("", "ship1", version, ack_timeout=ack_timeout, retries=10)
        self._zone = zone
        self._memory = Memory()
        self._number = 0

    def send(self, text: str, failed: float, *arrived: float) -> None:
        """One message of a failure at this time, which arrives once or more often, in one batch."""
        message = self._peer.error_message(text, NOW + timedelta(seconds=failed) + self._zone)
        payload, headers = self._peer.version.pack(message)
        read = event_mapping.read(self._peer.version.subject, headers or {}, payload)
        batch = []
        for at in arrived:
            self._number += 1
            arrived_at = (NOW + timedelta(seconds=at)).timestamp()
            batch.append(Arrival(f"S:{self._number}", arrived_at, event_mapping.report(read, Limits())))
        now = NOW + timedelta(seconds=max(arrived))
        ingest.record(batch, [], NameCache(), self._memory, limits=Limits(), now=now)


def stored() -> int:
    return ErrorEvent.objects.count()


@pytest.mark.parametrize("zone_h", [0, 2, -8, 5.75])
@pytest.mark.parametrize("known", [False, True], ids=["never heard before", "heard before"])
def test_what_an_early_node_kept_in_an_outage_is_one_failure(known: bool, zone_h: float) -> None:
    node = Arrivals(SEED, zone=timedelta(hours=zone_h))
    if known:
        node.send("error: before", -600, -599.5)
    before = stored()
    node.send(TEXT, 0, *(35.2 + number * 0.0002 for number in range(7)))
    assert stored() - before == 1
    # Delivered to another kernel once more, it is still one.
    assert len(set(ErrorEvent.objects.values_list("id", flat=True))) == before + 1


def test_five_failures_of_an_early_node_in_one_second_are_five() -> None:
    node = Arrivals(SEED)
    node.send(TEXT, 0, *(0.3 + number * 0.01 for number in range(5)))
    assert stored() == 5


def test_a_clock_that_is_off_makes_no_failure_a_retransmission() -> None:
    node = Arrivals(SEED, zone=timedelta(seconds=-70))
    node.send("error: before", -600, -599.5)
    node.send(TEXT, 0, *(0.3 + number * 0.01 for number in range(5)))
    assert stored() == 6


def test_the_second_text_about_an_unknown_method_joins_the_problem_of_the_first() -> None:
    node = Arrivals(STEW)
    dump = "{{} ship1 [] 3 [] REQHttpGet [http://x] [] REQNope [c] false ek 5 0 false 1 5 2 10 10 d f <nil> [] <nil>}"
    node.send(f"error: newSubjectAndMessage : error: newSubjectAndMessage: {UNKNOWN}, message: {dump}", 0, 0.1)
    node.send("error: routeMessagesToProcess: the method do not exist, message dropped: ", 0, 0.2)
    first, second = ErrorEvent.objects.order_by("seq").select_related("process")
    assert second.tags["part_of"] == str(first.id)
    assert second.problem_id == first.problem_id
    assert (first.process.name, second.process.name) == ("REQHttpGet", "(not named)")


def test_the_api_gives_what_was_read_from_the_text() -> None:
    Arrivals(STEW).send("error: methodREQHttpGet: x", 0, 0.1)
    user = User.objects.create_user("vera", password="x")
    user.groups.add(Group.objects.get(name="viewer"))
    client = Client()
    client.force_login(user)
    [event] = client.get("/api/v1/events").json()["items"]
    assert event["process_guess"] == "guessed_from_text"
    assert event["tags"]["source"] == "steward"
    assert event["tags"]["process_or"] == "REQHttpGetScheduled"
