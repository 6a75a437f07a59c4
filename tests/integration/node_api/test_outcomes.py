"""The node API takes outcomes in, and serves nodes without the ASGI server too."""

import asyncio
import gzip
import json
from uuid import uuid4

import pytest
from asgiref.sync import ThreadSensitiveContext
from django.test import AsyncClient

from errorkernel.domain.values import Outcome, OutcomeState
from errorkernel.models import Node, RejectedEvent
from errorkernel.platform import conf
from errorkernel.protocol import json_codec as wire
from errorkernel.store import nodes
from tests.support.node_requests import (
    EVENTS,
    answer,
    asked,
    event,
    in_database,
)

pytestmark = pytest.mark.django_db(transaction=True)


# Outcomes


# Outcomes


async def test_an_outcome_is_in_the_stream_when_202_is_said(stream, peer):
    incident = await asked()
    made = await answer(incident)
    body = {"v": 1, "incident": str(incident), "decision_id": str(made.pk), "state": "applied", "new_incarnation": 8}
    first, second = await peer.outcome(incident, body), await peer.outcome(incident, body)
    assert first.status_code == second.status_code == 202
    assert first.json() == {"accepted": [str(incident)]}
    assert set(await stream.messages()) == {(f"ek.out.ship1.{incident}", json.dumps(body).encode())}


async def test_an_outcome_that_is_put_right_is_stored_beside_the_wrong_one(stream, peer):
    incident = await asked()
    outcomes = [{"v": 1, "incident": str(incident), "state": "applied", "decision_id": str(uuid4())} for _ in "12"]
    await stream.connection.store(f"ek.out.ship2.{incident}", b"of another node", msg_id=f"{incident}:applied")
    for one in outcomes:
        assert (await peer.outcome(incident, one)).status_code == 202
    assert [json.loads(data) for _, data in (await stream.messages())[1:]] == outcomes


async def test_what_the_address_says_need_not_be_said_again(stream, peer):
    incident = await asked()
    assert (await peer.outcome(incident, {"state": "withdrawn"})).status_code == 202
    ((subject, data),) = await stream.messages()
    assert subject == f"ek.out.ship1.{incident}"
    assert wire.decode_outcome(data, conf.get().limits) == Outcome(incident=incident, state=OutcomeState.WITHDRAWN)


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "fine"}, {"state": "applied", "incident": str(uuid4())}, {"state": "applied", "v": 2}, [], b"{",
     {"state": "applied", "detail": "x" * 300_000}],
)  # fmt: skip
async def test_an_outcome_that_says_nothing_or_something_else_is_400(stream, peer, body):
    incident = await asked()
    assert (await peer.outcome(incident, body)).status_code == 400
    assert await stream.messages() == []
    assert await in_database(RejectedEvent.objects.count) == 1


# Django alone, without what stands in front of it


async def test_django_alone_serves_nodes_the_same(stream, peer):
    async def request(method, path, body=b"", **headers):
        async with ThreadSensitiveContext():
            headers["Authorization"] = f"Bearer {peer.token}"
            return await AsyncClient().generic(method, path, body, "application/json", headers=headers)

    sent = [event() for _ in range(300)]
    packed = gzip.compress(json.dumps(sent).encode())
    assert (await request("POST", EVENTS, packed, **{"Content-Encoding": "gzip"})).status_code == 202
    assert [json.loads(data) for _, data in await stream.messages()] == sent
    assert (await request("POST", EVENTS, b"{")).status_code == 400
    assert (await request("POST", EVENTS, b" " * 6_000_000)).status_code == 413
    incident = await asked()
    waiting = asyncio.ensure_future(request("GET", f"/api/v1/incidents/{incident}/decision?wait=20"))
    await asyncio.sleep(0.5)
    await answer(incident)
    told = await asyncio.wait_for(waiting, 5)
    assert told.json()["action"] == "kill"
    assert (await request("POST", f"/api/v1/incidents/{incident}/outcome", b'{"state":"applied"}')).status_code == 202
    assert (await request("PUT", EVENTS)).status_code == 405


async def test_the_database_may_be_away_for_a_moment(stream, peer, monkeypatch):
    from django.db import OperationalError

    def away(token):
        raise OperationalError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(nodes, "names_by_token", away)
        told = await peer.post(event())
    assert told.status_code == 503
    assert told["Retry-After"]
    assert (await peer.post(event())).status_code == 202
    assert await in_database(Node.objects.count) == 1
