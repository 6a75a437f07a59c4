"""The node API gives decisions to nodes that wait for them."""

import asyncio
import itertools
import json
import threading
import time
from uuid import UUID, uuid4

import pytest
from asgiref.sync import ThreadSensitiveContext
from django.contrib.auth.models import User
from django.db.backends.signals import connection_created
from django.test import AsyncClient

from errorkernel.domain.values import Action, Outcome, OutcomeState
from errorkernel.live.publisher import announce_incidents_async
from errorkernel.models import Incident
from errorkernel.platform import conf
from errorkernel.protocol import json_codec as wire
from errorkernel.store.accounts import api_tokens
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.web.node_api import decision_waits, gateway
from errorkernel.web.operations import incidents as operations
from tests.support.node_requests import (
    NOW,
    answer,
    asked,
    event,
    in_database,
    new_peer,
    until,
)
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.django_db(transaction=True)


class Statements(list[tuple[str, str]]):
    """Every statement on connections that are opened from now on: (the thread's name, SQL)."""

    def note(self, execute, sql, params, many, context):
        self.append((threading.current_thread().name, sql))
        return execute(sql, params, many, context)

    def of(self, thread, text=""):
        return [sql for name, sql in self if name.startswith(thread) and text in sql]


@pytest.fixture
def statements():
    noted = Statements()

    def opened(connection, **_):
        connection.execute_wrappers.append(noted.note)

    connection_created.connect(opened)
    yield noted
    connection_created.disconnect(opened)


# Decisions


async def test_a_decision_that_is_there_is_given_at_once_and_marked_as_delivered(stream, peer):
    incident = await asked(incarnation=7)
    made = await answer(incident)
    told = await peer.decision(incident)
    assert told.status_code == 200
    assert told["Content-Type"] == "application/json"
    decision = wire.decode_decision(told.content)
    assert (decision.incident, decision.decision_id, decision.action) == (incident, made.pk, Action.KILL)
    assert (decision.by, decision.reason, decision.incarnation) == ("user:alice", "disk is being replaced", 7)
    assert (await in_database(Incident.objects.get, pk=incident)).state == "delivered"
    assert (await peer.decision(str(incident).upper())).content == told.content


async def test_a_waiting_node_is_told_as_soon_as_somebody_decides(stream, peer):
    incident = await asked()
    waiting = asyncio.ensure_future(peer.decision(incident, 30))
    await asyncio.sleep(0.7)
    assert not waiting.done()
    await answer(incident, Action.CONTINUE)
    answered_at = time.monotonic()
    await announce_incidents_async([incident])
    told = await asyncio.wait_for(waiting, PATIENCE_S)
    assert told.json()["action"] == "continue"
    assert time.monotonic() - answered_at < 1.0


async def test_a_lost_wake_up_costs_a_moment_only(stream, peer):
    incident = await asked()
    waiting = asyncio.ensure_future(peer.decision(incident, 30))
    await asyncio.sleep(0.5)
    await answer(incident)  # and nobody announces it
    assert (await asyncio.wait_for(waiting, 4)).status_code == 200


async def test_without_a_decision_it_is_204_after_the_wait(stream, peer):
    incident = await asked()
    began = time.monotonic()
    told = await peer.decision(incident, 1)
    assert (told.status_code, told.content) == (204, b"")
    assert 0.9 < time.monotonic() - began < 2
    assert (await peer.decision(incident, -5)).status_code == 204


@pytest.mark.parametrize("wait", ["soon", "nan", "inf", "-inf", "0&wait=1", "1&wait="])
async def test_a_wait_that_is_no_number_of_seconds_is_400(stream, peer, wait):
    told = await peer.decision(await asked(), wait)
    assert told.status_code == 400
    assert "wait" in told.json()["error"]
    async with ThreadSensitiveContext():
        address = f"/api/v1/incidents/{uuid4()}/decision?wait={wait}"
        told = await AsyncClient().get(address, headers={"Authorization": f"Bearer {peer.token}"})
    assert told.status_code == 400


async def test_more_than_a_minute_is_not_waited(stream, peer, monkeypatch):
    monkeypatch.setattr(gateway, "WAIT_MAX_S", 0.2)
    assert (await asyncio.wait_for(peer.decision(await asked(), "1e300"), 5)).status_code == 204


async def test_a_node_may_ask_right_after_its_report_before_the_kernel_has_stored_it(stream, peer):
    raised = event(type="action")
    assert (await peer.post(raised)).status_code == 202
    waiting = asyncio.ensure_future(peer.decision(raised["id"], 30))
    await asyncio.sleep(1)
    assert not waiting.done()
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[("ship1", value)]), NameCache(), now=NOW)
    await asyncio.sleep(1)
    await answer(UUID(raised["id"]))
    assert (await asyncio.wait_for(waiting, 5)).status_code == 200


async def test_right_after_the_report_there_is_no_decision_yet_however_short_the_wait(stream, peer):
    raised = event(type="action")
    assert (await peer.post(raised)).status_code == 202
    waiting = asyncio.ensure_future(peer.decision(raised["id"], 0))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[("ship1", value)]), NameCache(), now=NOW)
    assert (await asyncio.wait_for(waiting, 5)).status_code == 204


async def test_an_operator_may_decide_right_after_the_report_too(stream, peer, monkeypatch):
    def operator():
        return api_tokens.add(User.objects.create_superuser("alice"), actor=Actor.system(NOW))

    async def answered(incident, headers):
        address = f"/api/v1/incidents/{incident}/decision"
        async with ThreadSensitiveContext():
            return await AsyncClient().post(address, {"action": "stop"}, "application/json", headers=headers)

    raised, headers = event(type="action"), {"Authorization": f"Bearer {await in_database(operator)}"}
    assert (await peer.post(raised)).status_code == 202
    with monkeypatch.context() as patched:  # the first request takes its time
        patched.setattr(operations, "APPEAR_WAIT_S", 0.1)
        assert (await answered(raised["id"], headers)).status_code == 404
    answering = asyncio.ensure_future(answered(raised["id"], headers))
    await asyncio.sleep(0.5)
    assert not answering.done()
    value = wire.decode_event(json.dumps(raised).encode(), conf.get().limits)
    await in_database(record, Batch(events=[("ship1", value)]), NameCache(), now=NOW)
    assert (await asyncio.wait_for(answering, 5)).status_code == 200


async def test_what_never_was_asked_or_belongs_to_another_node_is_404(stream, peer, monkeypatch):
    monkeypatch.setattr(decision_waits, "APPEAR_WAIT_S", 0.3)
    other = await asked("ship2")
    await answer(other)
    for incident in (other, uuid4(), "nonsense", "..", "0"):
        assert (await peer.decision(incident, 0)).status_code == 404
        assert (await peer.outcome(incident, {"state": "applied"})).status_code == 404
    assert (await in_database(Incident.objects.get, pk=other)).state == "decided"
    assert await stream.messages() == []


async def test_a_client_that_hung_up_has_not_been_told(stream, peer):
    incident, gone = await asked(), asyncio.Event()
    waiting = asyncio.ensure_future(peer.decision(incident, 30, gone))
    await asyncio.sleep(0.3)
    gone.set()
    assert await asyncio.wait_for(waiting, 2) is None
    await answer(incident)
    await asyncio.sleep(2.5)
    assert (await in_database(Incident.objects.get, pk=incident)).state == "decided"


async def test_a_withdrawn_incident_ends_the_asking(stream, peer):
    incident = await asked()
    gone = Outcome(incident=incident, state=OutcomeState.WITHDRAWN)
    await in_database(decisions.record_outcome, "ship1", gone, now=NOW)
    for wait in (30, 0, ""):
        told = await peer.decision(incident, wait)
        assert (told.status_code, told.json()["state"]) == (404, "withdrawn")


async def test_many_nodes_wait_at_the_same_time(stream, peer):
    asking = [await asked() for _ in range(conf.get().node_waits)]
    waiting = [asyncio.ensure_future(peer.decision(one, 20)) for one in asking]
    await asyncio.sleep(0.5)
    assert (await asyncio.wait_for(peer.post(event()), 5)).status_code == 202  # others are served meanwhile
    for one in asking:
        await answer(one)
    assert {told.status_code for told in await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)} == {200}


async def test_a_node_has_a_bounded_number_of_waits(stream, peer, monkeypatch):
    other, allowed = await in_database(new_peer, "ship2"), conf.get().node_waits
    incident, others = await asked(), await asked("ship2")
    waiting = [asyncio.ensure_future(peer.decision(incident, 30)) for _ in range(allowed + 30)]
    told = list(itertools.islice(asyncio.as_completed(waiting, timeout=PATIENCE_S), 30))
    refused = [await one for one in told]
    assert {answer.status_code for answer in refused} == {429}
    assert all(int(answer["Retry-After"]) >= 1 for answer in refused)
    assert (await peer.decision(incident, 0)).status_code == 204  # an answer at once is no wait
    assert (await peer.outcome(uuid4(), {"state": "applied"})).status_code == 429
    waiting_too = asyncio.ensure_future(other.decision(others, 30))
    for one in (incident, others):
        await answer(one)
    await announce_incidents_async([incident, others])
    assert (await asyncio.wait_for(waiting_too, PATIENCE_S)).status_code == 200
    left = await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)
    assert sorted(answer.status_code for answer in left) == [200] * allowed + [429] * 30
    assert (await peer.decision(incident, 30)).status_code == 200  # its waits are over


async def checks_of_hub(statements, count):
    """Wait for so many reads of the counters, one a second."""
    wanted = len(statements.of("live")) + count
    await until(lambda: len(statements.of("live")) >= wanted)


async def test_waits_cost_no_statements_while_nothing_happens(stream, peer, statements):
    per_node = conf.get().node_waits
    peers = [peer, *[await in_database(new_peer, f"ship{number}") for number in range(2, 6)]]
    incidents = {one: [await asked(f"ship{at}") for _ in range(per_node)] for at, one in enumerate(peers, 1)}
    ids = [incident for each in incidents.values() for incident in each]
    statements.clear()
    waiting = [asyncio.ensure_future(one.decision(incident, 60)) for one in peers for incident in incidents[one]]
    await until(lambda: len(statements.of("gateway", "errorkernel_incident")) > 1)
    before = -1
    while len(statements.of("gateway")) != before:  # until the last of them has been looked up
        before = len(statements.of("gateway"))
        await checks_of_hub(statements, 2)
    assert before < len(ids)  # one look-up for many of them
    await checks_of_hub(statements, 4)
    assert len(statements.of("gateway")) == before
    for incident in ids:
        await answer(incident)
    statements.clear()
    await announce_incidents_async(ids)
    assert {told.status_code for told in await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_S)} == {200}
    assert len(statements.of("gateway", "SELECT")) < len(ids)
