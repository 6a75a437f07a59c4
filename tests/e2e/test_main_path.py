"""The main job on the real thing: a whole running product, real nodes, real clients, real kills."""

import asyncio
import gzip
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest

from errorkernel.node import Action, Kernel
from errorkernel.protocol import batches
from tests.support.events import event, incident_of
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("up") / "data", new=True).start()
    yield product
    product.stop()


@pytest.fixture(scope="module")
def token(running: Product) -> str:
    return running.token()


def answer(running: Product, token: str, incident: str, action: str) -> None:
    status, body = running.call(f"/api/v1/incidents/{incident}/decision", token, {"action": action, "reason": "test"})
    assert status == 200, body


def test_start_shows_its_steps_the_password_and_how_to_stop(running: Product) -> None:
    log = running.log()
    told = [line for line in log.splitlines() if " INFO " not in line]
    steps = ["Database ✓", "Account: admin", "Password: ", "Broker   ✓", "Web      ✓", "Press Ctrl-C to stop."]
    assert [line[: len(step)] for line, step in zip(told, steps, strict=True)] == steps, log
    assert running.http_url in told[4]


def test_a_client_that_speaks_only_http_is_shown_and_answered(running: Product, token: str) -> None:
    node = running.add_node("http-only")
    asked = event(type="action", incarnation=3, error={"kind": "E", "text": "may I?"})
    status, body = running.call("/api/v1/events", node["token"], [event(), asked])
    assert (status, body["rejected"]) == (202, [])
    wait_for(lambda: incident_of(running, token, asked["id"]))
    assert running.call(f"/api/v1/incidents/{asked['id']}/decision?wait=0", node["token"])[0] == 204
    answer(running, token, asked["id"], "continue")
    status, decision = running.call(f"/api/v1/incidents/{asked['id']}/decision?wait=30", node["token"])
    assert (status, decision["action"], decision["incarnation"]) == (200, "continue", 3)
    outcome = {"v": 1, "incident": asked["id"], "decision_id": decision["decision_id"], "state": "applied"}
    assert running.call(f"/api/v1/incidents/{asked['id']}/outcome", node["token"], outcome)[0] == 202
    wait_for(lambda: incident_of(running, token, asked["id"])["state"] == "applied")


def test_a_client_that_speaks_only_nats_is_shown_and_answered(running: Product, token: str) -> None:
    node = running.add_node("nats-only")

    async def ask() -> None:
        nc = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_nats-only")
        js = nc.jetstream()
        asked = event(type="action", error={"text": "may I?"})
        await js.publish("ek.evt.nats-only", json.dumps(asked).encode(), headers={"Nats-Msg-Id": asked["id"]})
        await asyncio.to_thread(wait_for, lambda: incident_of(running, token, asked["id"]))
        await asyncio.to_thread(answer, running, token, asked["id"], "kill")
        pull = await js.pull_subscribe_bind(consumer="node-nats-only", stream="EK_DECISIONS")
        [message] = await pull.fetch(1, timeout=PATIENCE_S)
        decision = json.loads(message.data)
        assert (decision["incident"], decision["action"]) == (asked["id"], "kill")
        await message.ack()
        sync = await nc.request("ek.sync.nats-only", json.dumps({"open": [asked["id"]], "outcomes": []}).encode())
        assert json.loads(sync.data)["decisions"][0]["decision_id"] == decision["decision_id"]
        outcome = {**decision, "state": "applied", "new_incarnation": 2}
        await js.publish(f"ek.out.nats-only.{asked['id']}", json.dumps(outcome).encode())
        await asyncio.to_thread(wait_for, lambda: incident_of(running, token, asked["id"])["state"] == "applied")
        await nc.close()

    asyncio.run(ask())


def test_an_outcome_of_the_wrong_decision_can_be_put_right(running: Product, token: str) -> None:
    node = running.add_node("corrects")
    asked = event(type="action")
    outcome_path = f"/api/v1/incidents/{asked['id']}/outcome"
    assert running.call("/api/v1/events", node["token"], asked)[0] == 202
    wait_for(lambda: incident_of(running, token, asked["id"]))
    answer(running, token, asked["id"], "continue")
    right = running.call(f"/api/v1/incidents/{asked['id']}/decision?wait=5", node["token"])[1]["decision_id"]
    for decision in (str(uuid.uuid4()), right):
        outcome = {"state": "applied", "decision_id": decision}
        assert running.call(outcome_path, node["token"], outcome)[0] == 202
    wait_for(lambda: incident_of(running, token, asked["id"])["state"] == "applied")


def test_a_refused_report_can_be_mended_under_the_same_id(running: Product, token: str) -> None:
    """And what another node publishes under it hides nothing either."""
    mended, withdrawn = event(error={"text": "mended"}), event(type="action")
    senders = {name: running.add_node(name) for name in ("mends", "disturbs")}

    async def publish() -> None:
        mends, disturbs = [
            await nats.connect(one["nats_url"], nkeys_seed_str=one["nkey_seed"], inbox_prefix=f"_INBOX_{name}")
            for name, one in senders.items()
        ]

        async def store(sender: nats.NATS, subject: str, body: dict, message_id: str) -> None:
            headers = {"Nats-Msg-Id": message_id}
            await sender.jetstream().publish(subject, json.dumps(body).encode(), headers=headers)

        gone = {"v": 1, "incident": withdrawn["id"], "state": "withdrawn"}
        await store(mends, "ek.evt.mends", mended | {"type": "nonsense"}, mended["id"])
        await store(mends, "ek.evt.mends", withdrawn, withdrawn["id"])
        await store(disturbs, f"ek.out.disturbs.{withdrawn['id']}", gone, f"{withdrawn['id']}:withdrawn")
        await asyncio.sleep(0.3)
        await store(mends, "ek.evt.mends", mended, mended["id"])
        await store(mends, f"ek.out.mends.{withdrawn['id']}", gone, f"{withdrawn['id']}:withdrawn")
        await mends.close()
        await disturbs.close()

    asyncio.run(publish())
    wait_for(lambda: running.call("/api/v1/events?q=node:mends+text:mended", token)[1]["items"])
    wait_for(lambda: incident_of(running, token, withdrawn["id"])["state"] == "withdrawn")


def test_a_task_worker_goes_on_or_is_replaced_by_its_next_incarnation(
    running: Product, token: str, tmp_path: Path
) -> None:
    credentials = tmp_path / "node.json"
    credentials.write_text(json.dumps(running.add_node("py-node")))
    lives: list[int] = []
    went_on = asyncio.Event()

    async def work(ctx) -> None:
        lives.append(ctx.incarnation)
        assert await ctx.ask(FileNotFoundError("gone"), message={"id": "m1", "method": "copy"}) is Action.CONTINUE
        went_on.set()

    def open_ones() -> list[dict]:
        found = running.call("/api/v1/incidents?limit=1000", token)[1]["items"]
        return [one for one in found if one["node"] == "py-node" and one["state"] == "open"]

    async def run() -> None:
        async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel, kernel.worker("copier", work):
            [first] = await asyncio.to_thread(wait_for, open_ones)
            await asyncio.to_thread(answer, running, token, first["id"], "kill")
            await asyncio.to_thread(wait_for, lambda: incident_of(running, token, first["id"])["state"] == "applied")
            assert lives == [1, 2]
            [second] = await asyncio.to_thread(wait_for, open_ones)
            await asyncio.to_thread(answer, running, token, second["id"], "continue")
            await asyncio.wait_for(went_on.wait(), PATIENCE_S)
            await asyncio.to_thread(wait_for, lambda: incident_of(running, token, second["id"])["state"] == "applied")

    asyncio.run(run())


def test_a_killed_worker_process_is_replaced_by_one_with_another_pid(
    running: Product, token: str, tmp_path: Path
) -> None:
    credentials = tmp_path / "node.json"
    credentials.write_text(json.dumps(running.add_node("pid-node")))
    pids = tmp_path / "pids"
    script = tmp_path / "job.py"
    # Ignores SIGTERM and has a child: only a kill of the whole group ends both.
    script.write_text(
        "import os, signal, subprocess, sys\n"
        "from errorkernel.node.process.child import worker\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}} {{child.pid}}\\n')\n"
        "with worker() as me:\n"
        "    me.ask(ValueError('stuck'))\n"
    )

    def open_ones() -> list[dict]:
        found = running.call("/api/v1/incidents?limit=1000", token)[1]["items"]
        return [one for one in found if one["node"] == "pid-node" and one["state"] == "open"]

    async def run() -> None:
        async with (
            Kernel.from_file(credentials, journal=tmp_path / "j") as kernel,
            kernel.process_worker("job", [sys.executable, str(script)], grace_s=0.5, env={"PYTHONPATH": str(ROOT)}),
        ):
            [first] = await asyncio.to_thread(wait_for, open_ones)
            await asyncio.to_thread(answer, running, token, first["id"], "kill")
            await asyncio.to_thread(wait_for, lambda: incident_of(running, token, first["id"])["state"] == "applied")
            await asyncio.to_thread(wait_for, lambda: len(pids.read_text().splitlines()) == 2)
            old, new = (line.split() for line in pids.read_text().splitlines())
            assert old[0] != new[0]
            await asyncio.to_thread(wait_for, lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in old))

    asyncio.run(run())


def test_malformed_input_is_quarantined_and_the_rest_is_stored(running: Product, token: str) -> None:
    node = running.add_node("hostile")
    bad = [
        b"", b"\xff\xfe", b"null", b"[1]", b"{" * 5000, os.urandom(300), b"x" * 270_000,
        json.dumps({**event(), "id": "no"}).encode(), json.dumps({**event(), "process": 7}).encode(),
        json.dumps({**event(), "v": 9}).encode(), json.dumps({**event(), "type": "panic"}).encode(),
    ]  # fmt: skip
    good = [event(error={"text": f"good {number}"}) for number in range(300)]

    async def publish() -> None:
        nc = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_hostile")
        for number in range(3_000):
            await nc.publish("ek.evt.hostile", bad[number % len(bad)])
            if number % 10 == 0:
                await nc.publish("ek.evt.hostile", json.dumps(good[number // 10]).encode())
            if number % 100 == 99:
                await nc.flush()
        await nc.close()

    asyncio.run(publish())

    def stored() -> bool:
        page = running.call("/api/v1/events?limit=1000&q=node:hostile", token)[1]["items"]
        return {one["id"] for one in page} == {one["id"] for one in good}

    def quarantined() -> bool:
        with sqlite3.connect(f"file:{running.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
            return database.execute(
                "SELECT count(*) FROM errorkernel_rejectedevent WHERE node = 'hostile'"
            ).fetchone() == (3_000,)

    wait_for(quarantined)
    wait_for(stored)


def test_batches_are_stored_event_by_event_and_hostile_ones_are_rejected(running: Product, token: str) -> None:
    node = running.add_node("batches")
    good = [event(error={"text": f"good {number}"}) for number in range(600)]
    lines = [json.dumps(body).encode() for body in good]
    packed = [
        batches.pack(lines[:300]), batches.pack([*lines[300:450], b"not json", *lines[450:]]),
        gzip.compress(b"\0" * 50_000_000), batches.pack(lines)[:-20], batches.pack([b"{}"] * 2000),
    ]  # fmt: skip

    async def publish() -> None:
        nc = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_batches")
        for data in [*packed, *packed]:  # a second time, as after a lost acknowledgement
            headers = {"Nats-Msg-Id": str(uuid.uuid4()), **batches.HEADERS}
            await nc.jetstream().publish("ek.evt.batches", data, headers=headers, timeout=20)
        await nc.close()

    asyncio.run(publish())

    def stored() -> list[dict]:
        return running.call("/api/v1/events?limit=1000&q=node:batches", token)[1]["items"]

    def rejected() -> list[tuple[str, int]]:
        with sqlite3.connect(f"file:{running.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
            query = (
                "SELECT reason, count(*) FROM errorkernel_rejectedevent WHERE node = 'batches' GROUP BY 1 ORDER BY 1"
            )
            return database.execute(query).fetchall()

    wait_for(lambda: rejected() == [("bad_compression", 2), ("not_json", 2), ("too_big", 2), ("too_many", 2)])
    wait_for(lambda: len(stored()) == 600)
    assert [one["text"] for one in stored()] == [f"good {number}" for number in range(600)]


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("steward:")]
    return line


def test_what_keeps_it_from_starting_is_told_in_one_sentence(running: Product, tmp_path: Path) -> None:
    other = Product(tmp_path / "data")
    taken = running.http_url.rsplit(":", 1)[1]
    assert taken in one_sentence(other.command("up", "--port", taken))
    assert "Another" in one_sentence(running.command("up", "--port", "0"))
    (tmp_path / "file").write_text("")
    assert "cannot be used" in one_sentence(Product(tmp_path / "file" / "data").command("up", "--port", "0"))
    (tmp_path / "corrupt").mkdir()
    (tmp_path / "corrupt" / "steward.sqlite3").write_bytes(b"no database" * 1000)
    assert "database" in one_sentence(Product(tmp_path / "corrupt").command("up", "--port", "0"))
    os.environ["STEWARD_NATS_SERVER"] = "/nowhere/nats-server"
    try:
        assert "/nowhere/nats-server" in one_sentence(other.command("up", "--port", "0"))
    finally:
        del os.environ["STEWARD_NATS_SERVER"]


def test_the_node_client_needs_no_django() -> None:
    code = "import sys; sys.modules['django'] = None; import errorkernel.node, errorkernel.ops.demo.node"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_wrongly_addressed_reports_are_quarantined(running: Product) -> None:
    """Only somebody with the kernel's own credentials can send them; a node is refused by the broker."""
    seed = (running.directory / "kernel.nk").read_text().strip()
    wrong = ["ek.evt.a.b", "ek.evt.bad%name", "ek.out.a.no-uuid", "ek.out.a", f"ek.out.a.{uuid.uuid4()}.x"]

    async def publish() -> None:
        nc = await nats.connect(running.nats_url, nkeys_seed_str=seed)
        for subject in wrong:
            await nc.jetstream().publish(subject, json.dumps(event()).encode())
        await nc.close()

    asyncio.run(publish())

    def quarantined() -> bool:
        with sqlite3.connect(f"file:{running.directory / 'steward.sqlite3'}?mode=ro", uri=True) as database:
            rows = database.execute("SELECT subject FROM errorkernel_rejectedevent WHERE reason = 'bad_subject'")
            return {subject for (subject,) in rows} == set(wrong)

    wait_for(quarantined)


def test_a_kernel_that_vanished_without_the_brokers_knowing_takes_no_nodes_incident_along(running: Product) -> None:
    """Its subscriptions stay for up to 40 s; the kernel that follows it hears everything all the same."""
    seed, node = (running.directory / "kernel.nk").read_text().strip(), running.add_node("asks-on")

    async def ask() -> None:
        vanished = await nats.connect(running.nats_url, nkeys_seed_str=seed)
        heard = await vanished.subscribe("ek.sync.*", queue="kernel")
        await vanished.flush()
        nc = await nats.connect(node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix="_INBOX_asks-on")
        for _ in range(10):
            reply = await nc.request("ek.sync.asks-on", b'{"open": [], "outcomes": []}', timeout=PATIENCE_S)
            assert json.loads(reply.data)["decisions"] == []
        assert heard.pending_msgs == 10
        await nc.close()
        await vanished.close()

    asyncio.run(ask())


def test_the_database_itself_refuses_to_change_the_audit_trail(running: Product) -> None:
    running.add_node("audited")
    with sqlite3.connect(running.directory / "steward.sqlite3") as database:
        assert database.execute("SELECT count(*) FROM errorkernel_auditentry").fetchone()[0]
        for statement in (
            "UPDATE errorkernel_auditentry SET actor = 'nobody'",
            "DELETE FROM errorkernel_auditentry",
            "INSERT OR REPLACE INTO errorkernel_auditentry SELECT * FROM errorkernel_auditentry",
            "INSERT INTO errorkernel_auditentry SELECT * FROM errorkernel_auditentry WHERE true"
            " ON CONFLICT (id) DO UPDATE SET actor = 'nobody'",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                database.execute(statement)


def test_settings_that_changed_between_two_starts_are_in_the_audit_trail(tmp_path: Path) -> None:
    given = {"STEWARD_KILL_NEEDS_TWO_ABOVE": "5", "STEWARD_SECRET_KEY": "never to be seen"}

    def noted() -> list[tuple[dict, dict]]:
        with sqlite3.connect(product.directory / "steward.sqlite3") as database:
            rows = database.execute(
                "SELECT before, after FROM errorkernel_auditentry WHERE target = 'settings:up' ORDER BY id"
            ).fetchall()
        return [(json.loads(before), json.loads(after)) for before, after in rows]

    product = Product(tmp_path / "data", settings=given).start()
    try:
        [(_, after)] = wait_for(noted)
        assert (after["STEWARD_KILL_NEEDS_TWO_ABOVE"], after["STEWARD_SECRET_KEY"]) == ("5", "(set, hidden)")
    finally:
        product.stop()
    product.settings = {**given, "STEWARD_KILL_NEEDS_TWO_ABOVE": "0"}
    product.start()
    try:
        [_, changed] = wait_for(lambda: noted()[1:] and noted())
        assert changed == ({"STEWARD_KILL_NEEDS_TWO_ABOVE": "5"}, {"STEWARD_KILL_NEEDS_TWO_ABOVE": "0"})
    finally:
        product.stop()


def test_one_command_removes_the_demo(tmp_path: Path) -> None:
    product = Product(tmp_path / "data", "--demo").start()
    try:
        token = product.token()
        wait_for(lambda: product.call("/api/v1/events", token)[1]["items"])
        assert len(product.call("/api/v1/nodes", token)[1]["items"]) == 4
    finally:
        product.stop()
    assert product.command("demo", "remove").returncode == 0
    product = Product(product.directory).start()
    try:
        for what in ("nodes", "events", "incidents", "problems", "processes"):
            assert product.call(f"/api/v1/{what}", token)[1]["items"] == [], what
    finally:
        product.stop()
