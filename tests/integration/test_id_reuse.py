"""An event's id is unique per node. What comes under an id that was used for something else is kept and counted."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Event, EventType, Level, Message
from errorkernel.models import ErrorEvent, Incident, RejectedEvent
from errorkernel.protocol import json_codec
from errorkernel.store.ingest.batch import Batch, Recorded, record
from errorkernel.store.ingest.name_cache import NameCache

pytestmark = pytest.mark.django_db(transaction=True)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def event(text: str, id: UUID | None = None, type: EventType = EventType.ERROR, **more: Any) -> Event:
    return Event(id=id or uuid7(), type=type, level=Level.ERROR, process="copy", text=text, **more)


FULL = event(
    "disk full",
    kind="OSError",
    stack="Traceback …",
    incarnation=7,
    message=Message(id="job-1", method="REQCopy"),
    relay_from_node="relay",
    occurred_at=datetime(2026, 11, 30, 11, 59, 58, 123456, tzinfo=UTC),
    tags={"release": "1.4"},
)


def take_in(*events: Event, node: str = "ship1") -> Recorded:
    return record(Batch(events=[(node, one) for one in events]), NameCache(), now=NOW)


def test_an_event_that_arrives_again_is_the_same_event() -> None:
    again = json_codec.decode_event(json_codec.encode_event(FULL), Limits())
    assert len(take_in(FULL, again).rows) == 1
    recorded = take_in(again)
    assert (recorded.rows, recorded.refused) == ([], [])
    assert not RejectedEvent.objects.exists()


@pytest.mark.parametrize(
    "other",
    [
        {"text": "no route"},
        {"kind": "IOError"},
        {"stack": ""},
        {"process": "move"},
        {"incarnation": 8},
        {"message": None},
        {"tags": {}},
        {"occurred_at": None},
        {"level": Level.WARNING},
        {"relay_from_node": ""},
        {"type": EventType.ACTION},
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_another_content_under_a_used_id_is_kept_as_a_rejected_event(other: dict[str, Any], together: bool) -> None:
    reused = msgspec.structs.replace(FULL, **other)
    recorded = take_in(FULL, reused) if together else [take_in(FULL), take_in(reused)][1]
    assert [refusal.reason for refusal in recorded.refused] == ["id_reused"]
    rejected = RejectedEvent.objects.get()
    assert (rejected.node, rejected.reason) == ("ship1", "id_reused")
    assert json_codec.decode_event(bytes(rejected.head), Limits()) == reused
    assert ErrorEvent.objects.get().text == "disk full"
    take_in(reused)
    assert RejectedEvent.objects.count() == 1, "a repeated one adds no row"


def test_two_nodes_may_use_the_same_id() -> None:
    take_in(FULL)
    recorded = take_in(FULL, node="ship2")
    assert len(recorded.rows) == 1
    assert set(ErrorEvent.objects.values_list("node__name", "id")) == {("ship1", FULL.id), ("ship2", FULL.id)}
    both = Batch(events=[("ship3", event("a", FULL.id)), ("ship4", event("b", FULL.id))])
    assert len(record(both, NameCache(), now=NOW).rows) == 2


@pytest.mark.parametrize("together", [True, False])
def test_an_incident_of_another_node_keeps_its_id(together: bool) -> None:
    asked = event("which valve", type=EventType.ACTION)
    if together:
        recorded = record(Batch(events=[("ship1", asked), ("ship2", asked)]), NameCache(), now=NOW)
    else:
        take_in(asked)
        recorded = take_in(asked, node="ship2")
    assert [refusal.node for refusal in recorded.refused] == ["ship2"]
    assert Incident.objects.get().node.name == "ship1"
    assert take_in(asked).refused == []


def test_an_incident_whose_event_was_deleted_is_not_opened_again() -> None:
    asked = event("which valve", type=EventType.ACTION, message=Message(id="job-1"))
    take_in(asked)
    ErrorEvent.objects.all().delete()
    assert take_in(asked).refused == []
    other = msgspec.structs.replace(asked, text="which pump")
    assert [refusal.reason for refusal in take_in(other).refused] == ["id_reused"]
    assert Incident.objects.get().text == "which valve"


def test_ids_that_the_kernel_derives_are_not_compared() -> None:
    take_in(FULL)
    again = msgspec.structs.replace(FULL, tags={"waited": "65 s"})
    batch = Batch(events=[("ship1", again)], has_derived_ids=True)
    assert record(batch, NameCache(), now=NOW).refused == []
    assert not RejectedEvent.objects.exists()
