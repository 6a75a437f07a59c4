"""The failed message, back to the operator: sent to its process again, once, through everything that can go wrong;
dropped; kept as a dead letter."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import nats
import pytest

from errorkernel.domain.values import Message
from errorkernel.node import Kernel
from errorkernel.node.supervision.task_worker import Context
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

WORK = {"id": "8841", "method": "REQCopySrc", "data": "/data/a.tif"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("up") / "data").start()
    yield product
    product.stop()


@pytest.fixture(scope="module")
def token(running: Product) -> str:
    return running.token()


def credentials(running: Product, name: str, directory: Path) -> Path:
    path = directory / f"{name}.json"
    path.write_text(json.dumps(running.add_node(name)))
    return path


@asynccontextmanager
async def node(running: Product, name: str, directory: Path) -> AsyncIterator[Kernel]:
    path = directory / f"{name}.json"
    if not path.exists():
        await asyncio.to_thread(credentials, running, name, directory)
    async with Kernel.from_file(path, journal=directory / f"{name}.journal") as kernel:
        yield kernel


def incident(running: Product, token: str, node: str, state: str) -> dict | None:
    _, found = running.call(f"/api/v1/incidents?state={state}&node={node}", token)
    return next(iter(found["items"]), None)


async def ended(running: Product, token: str, kernel: Kernel, *, message: dict | None = WORK) -> str:
    """The id of a question that was answered *continue*."""
    asking = asyncio.create_task(kernel.ask("no space left", process="copy-files", message=message))
    found = await asyncio.to_thread(wait_for, lambda: incident(running, token, kernel.node, "open"))
    assert running.call(f"/api/v1/incidents/{found['id']}/decision", token, {"action": "continue"})[0] == 200
    await asking
    await asyncio.to_thread(wait_for, lambda: incident(running, token, kernel.node, "applied"))
    return str(found["id"])


def decide(running: Product, token: str, incident: str, action: str) -> None:
    assert running.call(f"/api/v1/incidents/{incident}/decision", token, {"action": action, "reason": "test"})[0] == 200


def requeue(running: Product, token: str, incident: str, **more: str) -> tuple[int, dict]:
    return running.call(f"/api/v1/incidents/{incident}/requeue", token, {"reason": "the disk was replaced", **more})


def state(running: Product, token: str, incident: str, request_id: str) -> str:
    """The same request again changes nothing, and tells how far the message is."""
    return str(requeue(running, token, incident, request_id=request_id)[1]["state"])


async def test_a_message_is_sent_again_and_taken_once(running: Product, token: str, tmp_path: Path) -> None:
    taken: list[Message] = []
    async with node(running, "taker", tmp_path) as kernel:
        found = await ended(running, token, kernel)
        status, body = await asyncio.to_thread(requeue, running, token, found, request_id="r1")
        assert (status, body["state"]) == (200, "sent")
        # Nobody takes it yet: it waits on the node, and the operator is told so.
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "received")
        assert (await asyncio.to_thread(requeue, running, token, found))[0] == 409
        kernel.on_requeue("copy-files", taken.append)
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "applied")
        assert taken == [Message(**WORK)]
        # What has been taken can be sent once more.
        assert (await asyncio.to_thread(requeue, running, token, found, request_id="r2"))[0] == 200
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r2") == "applied")
        assert len(taken) == 2


async def test_the_message_of_a_quarantined_process_goes_to_it_and_not_to_who_asked_about_it(
    running: Product, token: str, tmp_path: Path
) -> None:
    taken: list[Message] = []

    async def copy(context: Context) -> None:
        if context.incarnation == 1:
            await context.ask("no space left", message=WORK)
        await asyncio.get_running_loop().create_future()

    async with node(running, "quarantined", tmp_path) as kernel:
        kernel.on_requeue("copy-files", taken.append)
        async with kernel.worker("copy-files", copy, intensity=0):
            asked = await asyncio.to_thread(wait_for, lambda: incident(running, token, kernel.node, "open"))
            await asyncio.to_thread(decide, running, token, asked["id"], "kill")
            about = await asyncio.to_thread(wait_for, lambda: incident(running, token, kernel.node, "open"))
            assert (about["process"], about["kind"], about["message"]["id"]) == ("main", "Quarantined", WORK["id"])
            await asyncio.to_thread(decide, running, token, about["id"], "continue")
            await asyncio.to_thread(wait_for, lambda: requeue(running, token, about["id"], request_id="r1")[0] == 200)
            await asyncio.to_thread(wait_for, lambda: state(running, token, about["id"], "r1") == "applied")
            assert taken == [Message(**WORK)]


async def test_a_message_that_fails_again_says_why(running: Product, token: str, tmp_path: Path) -> None:
    async def fail(message: Message) -> None:
        raise OSError(f"still no space for {message.data}")

    async with node(running, "failing", tmp_path) as kernel:
        found = await ended(running, token, kernel)
        kernel.on_requeue("copy-files", fail)
        await asyncio.to_thread(requeue, running, token, found, request_id="r1")
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "failed")
        _, body = await asyncio.to_thread(requeue, running, token, found, request_id="r1")
        assert body["detail"] == "OSError: still no space for /data/a.tif"
        events = running.call("/api/v1/events?q=node:failing&order=desc", token)[1]["items"]
        assert [(one["type"], one["message"]["id"]) for one in events[:1]] == [("error", "8841")]


async def test_what_a_node_did_not_hear_of_comes_when_it_is_back(running: Product, token: str, tmp_path: Path) -> None:
    async with node(running, "away", tmp_path) as kernel:
        found = await ended(running, token, kernel)
    assert (await asyncio.to_thread(requeue, running, token, found, request_id="r1"))[1]["state"] == "sent"
    taken: list[Message] = []
    async with node(running, "away", tmp_path) as kernel:
        kernel.on_requeue("copy-files", taken.append)
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "applied")
    assert len(taken) == 1


async def test_a_message_whose_program_died_over_it_failed_and_is_not_handed_over_again(
    running: Product, token: str, tmp_path: Path
) -> None:
    async with node(running, "dying", tmp_path) as kernel:
        found = await ended(running, token, kernel)
        await asyncio.to_thread(requeue, running, token, found, request_id="r1")
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "received")
    # As a program leaves it that is killed while it works on the message.
    with sqlite3.connect(tmp_path / "dying.journal") as journal:
        journal.execute("INSERT INTO client (number, pid, since) VALUES (1000, 1, 0)")
        journal.execute("UPDATE requeue SET state = 'begun', client = 1000")
    taken: list[Message] = []
    async with node(running, "dying", tmp_path) as kernel:
        kernel.on_requeue("copy-files", taken.append)
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "failed")
    assert taken == []


async def test_a_command_that_the_broker_lost_is_brought_by_sync(running: Product, token: str, tmp_path: Path) -> None:
    """Told by a node that speaks the contract and nothing of ours: after ten seconds the sync offers it."""
    given = await asyncio.to_thread(running.add_node, "by-sync")
    connection = await nats.connect(given["nats_url"], nkeys_seed_str=given["nkey_seed"], inbox_prefix="_INBOX_by-sync")
    asked = {
        "v": 1, "id": str(uuid4()), "type": "action", "process": "p", "error": {"text": "?"}, "message": WORK,
    }  # fmt: skip
    await connection.jetstream().publish("ek.evt.by-sync", json.dumps(asked).encode())
    await asyncio.to_thread(wait_for, lambda: incident(running, token, "by-sync", "open"))
    withdrawn = {"v": 1, "incident": asked["id"], "decision_id": None, "state": "withdrawn"}
    await connection.jetstream().publish(f"ek.out.by-sync.{asked['id']}", json.dumps(withdrawn).encode())
    await asyncio.to_thread(wait_for, lambda: incident(running, token, "by-sync", "withdrawn"))
    await asyncio.to_thread(requeue, running, token, asked["id"], request_id="r1")

    async def offered() -> list[dict]:
        reply = await connection.request("ek.sync.by-sync", b'{"open": [], "outcomes": []}', timeout=PATIENCE_S)
        return list(json.loads(reply.data)["commands"])

    while not (commands := await offered()):
        await asyncio.sleep(0.5)
    [command] = commands
    assert (command["do"], command["process"], command["message"]) == ("requeue", "p", WORK)
    done = {"v": 1, "incident": command["id"], "state": "applied", "detail": "done"}
    await connection.jetstream().publish(f"ek.out.by-sync.{command['id']}", json.dumps(done).encode())
    await asyncio.to_thread(wait_for, lambda: state(running, token, asked["id"], "r1") == "applied")
    assert await offered() == []
    await connection.close()


def test_a_node_that_speaks_only_http_takes_its_message_once(running: Product, token: str, tmp_path: Path) -> None:
    mine, others = (json.loads(credentials(running, name, tmp_path).read_text())["token"] for name in ("curl", "wget"))
    asked = {"v": 1, "id": str(uuid4()), "type": "action", "process": "job", "error": {"text": "x"}, "message": WORK}
    assert running.call("/api/v1/events", mine, asked)[0] == 202
    wait_for(lambda: incident(running, token, "curl", "open"))
    assert running.call(f"/api/v1/incidents/{asked['id']}/decision", token, {"action": "continue"})[0] == 200
    assert running.call(f"/api/v1/incidents/{asked['id']}/outcome", mine, {"state": "applied"})[0] == 202
    wait_for(lambda: incident(running, token, "curl", "applied"))
    assert running.call("/api/v1/commands", mine) == (200, {"commands": []})
    assert requeue(running, token, asked["id"], request_id="r1")[0] == 200
    status, told = running.call("/api/v1/commands", mine)
    [command] = told["commands"]
    assert (status, command["message"], command["process"], command["incident"]) == (200, WORK, "job", asked["id"])
    assert state(running, token, asked["id"], "r1") == "received"
    assert running.call("/api/v1/commands", mine) == (200, told), "until its outcome is known"
    assert running.call("/api/v1/commands", others) == (200, {"commands": []})
    assert running.call("/api/v1/commands", token)[0] == 401
    outcome = f"/api/v1/incidents/{command['id']}/outcome"
    assert running.call(outcome, others, {"state": "applied"})[0] == 404
    assert running.call(outcome, mine, {"state": "applied"})[0] == 202
    wait_for(lambda: state(running, token, asked["id"], "r1") == "applied")
    assert running.call("/api/v1/commands", mine) == (200, {"commands": []})


async def test_what_cannot_be_sent_again_says_why(running: Product, token: str, tmp_path: Path) -> None:
    async with node(running, "refusing", tmp_path) as kernel:
        asking = asyncio.create_task(kernel.ask("no", process="copy-files", message={**WORK, "data": "x" * 70_000}))
        found = await asyncio.to_thread(wait_for, lambda: incident(running, token, "refusing", "open"))
        status, body = await asyncio.to_thread(requeue, running, token, found["id"])
        assert (status, body["error"]) == (409, "The process still has the message. Decide the incident first.")
        asking.cancel()
        await asyncio.to_thread(wait_for, lambda: incident(running, token, "refusing", "withdrawn"))
        status, body = await asyncio.to_thread(requeue, running, token, found["id"])
        assert (status, "only a part" in body["error"].lower()) == (409, True)
        without = await ended(running, token, kernel, message=None)
        status, body = await asyncio.to_thread(requeue, running, token, without)
        assert (status, "did not report" in body["error"]) == (409, True)
    assert requeue(running, token, str(uuid4()))[0] == 404
    assert requeue(running, token, "nonsense")[0] == 404
    assert running.call(f"/api/v1/incidents/{found['id']}/requeue", "eku_wrong", {})[0] == 401


async def test_a_request_id_that_was_given_for_something_else_is_refused(
    running: Product, token: str, tmp_path: Path
) -> None:
    async with node(running, "hasty", tmp_path) as kernel:
        found = await ended(running, token, kernel)
    assert requeue(running, token, found, request_id="r1")[0] == 200
    status, body = running.call(f"/api/v1/incidents/{found}/drop", token, {"request_id": "r1"})
    assert (status, body["error"]) == (409, "This request_id was already used for another action on the message.")
    assert state(running, token, found, "r1") == "sent"


async def test_a_dropped_message_stays_dropped_and_on_record(running: Product, token: str, tmp_path: Path) -> None:
    async with node(running, "dropper", tmp_path) as kernel:
        found = await ended(running, token, kernel)
    status, body = running.call(f"/api/v1/incidents/{found}/drop", token, {"reason": "obsolete"})
    assert (status, body["state"]) == (200, "dropped")
    assert requeue(running, token, found)[0] == 409
    with sqlite3.connect(running.directory / "steward.sqlite3") as database:
        query = "SELECT actor, reason FROM errorkernel_auditentry WHERE target = ? AND action = 'drop'"
        assert database.execute(query, (f"incident:{found}",)).fetchall() == [("user:admin", "obsolete")]


@pytest.mark.parametrize(("wish", "state"), [("requeue", "resent"), ("drop", "dropped")])
async def test_the_dead_letter_of_a_message_says_what_was_done_with_it(
    running: Product, token: str, tmp_path: Path, wish: str, state: str
) -> None:
    def letters() -> list[dict]:
        return list(running.call(f"/api/v1/dead-letters?node=poisoned-{wish}", token)[1]["items"])

    async with node(running, f"poisoned-{wish}", tmp_path) as kernel:
        for _ in range(2):
            await kernel.error("no space left", process="copy-files", message=WORK)
        found = await ended(running, token, kernel)
        [letter] = await asyncio.to_thread(wait_for, letters)
        assert (letter["state"], letter["incident"]) == ("kept", found)
        assert running.call(f"/api/v1/incidents/{found}/{wish}", token, {})[0] == 200
        assert [one["state"] for one in letters()] == [state]


def letters_of(running: Product, token: str, node: str) -> list[dict]:
    return list(running.call(f"/api/v1/dead-letters?node={node}", token)[1]["items"])


def audited(running: Product, target: str) -> list[tuple[str, ...]]:
    """(who, did, why, became) of everything that was done to it, the answer and its ways left out."""
    query = (
        "SELECT actor, action, reason, json_extract(after, '$.message') FROM errorkernel_auditentry"
        " WHERE target = ? AND json_extract(after, '$.message') IS NOT NULL ORDER BY id"
    )
    with sqlite3.connect(running.directory / "steward.sqlite3") as database:
        return database.execute(query, (target,)).fetchall()


async def test_an_operator_keeps_a_message_as_a_dead_letter_and_sends_it_again_from_there(
    running: Product, token: str, tmp_path: Path
) -> None:
    taken: list[Message] = []
    async with node(running, "keeper", tmp_path) as kernel:
        found = await ended(running, token, kernel)
        keep = f"/api/v1/incidents/{found}/dead-letter"
        status, body = running.call(keep, token, {"reason": "nobody knows this file", "request_id": "k1"})
        assert (status, body["state"], body["incident"]) == (200, "kept", found)
        assert running.call(keep, token, {"request_id": "k1"}) == (200, body)
        assert running.call(keep, token, {"request_id": "k2"})[0] == 409
        [letter] = letters_of(running, token, "keeper")
        assert (letter["id"], letter["state"], letter["incident"]) == (body["dead_letter"], "kept", found)
        assert (letter["message"], letter["failures"]) == (WORK, 1)
        [done] = letter["done"]
        assert (done["actor"], done["reason"], done["state"]) == ("user:admin", "nobody knows this file", "kept")
        kernel.on_requeue("copy-files", taken.append)
        status, body = running.call(f"/api/v1/dead-letters/{letter['id']}/requeue", token, {"request_id": "r1"})
        assert (status, body["state"], body["incident"]) == (200, "sent", found)
        await asyncio.to_thread(wait_for, lambda: state(running, token, found, "r1") == "applied")
        assert taken == [Message(**WORK)]
    [letter] = letters_of(running, token, "keeper")
    assert (letter["state"], [one["state"] for one in letter["done"]]) == ("resent", ["kept", "applied"])
    # What became of it may be here before it is that the node has it.
    assert [one for one in audited(running, f"incident:{found}") if one[1] != "deliver message"] == [
        ("user:admin", "dead-letter", "nobody knows this file", "kept"), ("user:admin", "requeue", "", "sent"),
        ("node:keeper", "take message", "", "applied"),
    ]  # fmt: skip


async def test_a_dead_letter_that_nobody_asked_about_is_sent_again_once(
    running: Product, token: str, tmp_path: Path
) -> None:
    taken: list[Message] = []
    async with node(running, "unasked", tmp_path) as kernel:
        for _ in range(3):
            await kernel.error("no space left", process="copy-files", message=WORK)
        [letter] = await asyncio.to_thread(wait_for, lambda: letters_of(running, token, "unasked"))
        assert (letter["incident"], letter["done"]) == (None, [])
        again = f"/api/v1/dead-letters/{letter['id']}/requeue"
        status, body = running.call(again, token, {"reason": "there is space", "request_id": "r1"})
        assert (status, body["incident"], body["dead_letter"]) == (200, None, letter["id"])
        assert running.call(again, token, {})[0] == 409
        assert running.call(again.replace("requeue", "drop"), token, {"request_id": "r1"})[0] == 409

        def letter_is(state: str) -> bool:
            return [one["state"] for one in letters_of(running, token, "unasked")[0]["done"]] == [state]

        await asyncio.to_thread(wait_for, lambda: letter_is("received"))
        kernel.on_requeue("copy-files", taken.append)
        await asyncio.to_thread(wait_for, lambda: letter_is("applied"))
    assert taken == [Message(**WORK)]
    assert letters_of(running, token, "unasked")[0]["state"] == "resent"
    acts = [one for one in audited(running, f"dead-letter:{letter['id']}") if one[1] != "deliver message"]
    assert acts == [
        ("user:admin", "requeue", "there is space", "sent"), ("node:unasked", "take message", "", "applied"),
    ]  # fmt: skip


def test_a_node_that_speaks_only_http_takes_a_dead_letter_that_nobody_asked_about(
    running: Product, token: str, tmp_path: Path
) -> None:
    mine = json.loads(credentials(running, "fetch", tmp_path).read_text())["token"]
    failed = {"v": 1, "type": "error", "process": "job", "error": {"text": "x"}, "message": WORK}
    assert running.call("/api/v1/events", mine, [{**failed, "id": str(uuid4())} for _ in range(3)])[0] == 202
    [letter] = wait_for(lambda: letters_of(running, token, "fetch"))
    assert running.call(f"/api/v1/dead-letters/{letter['id']}/requeue", token, {})[0] == 200
    [command] = running.call("/api/v1/commands", mine)[1]["commands"]
    assert (command["message"], command["process"], command["incident"]) == (WORK, "job", None)
    told = {"state": "failed", "detail": "still no space"}
    assert running.call(f"/api/v1/incidents/{command['id']}/outcome", mine, told)[0] == 202
    wait_for(lambda: letters_of(running, token, "fetch")[0]["done"][0]["detail"] == "still no space")
    # It failed and nobody asks: somebody has to say what becomes of it.
    assert running.call(f"/api/v1/dead-letters/{letter['id']}/drop", token, {"reason": "obsolete"})[0] == 200
    assert letters_of(running, token, "fetch")[0]["state"] == "dropped"
    assert running.call(f"/api/v1/dead-letters/{letter['id']}/requeue", token, {})[0] == 409
    assert running.call("/api/v1/commands", mine) == (200, {"commands": []})
    assert running.call("/api/v1/dead-letters/4711/drop", token, {})[0] == 404
