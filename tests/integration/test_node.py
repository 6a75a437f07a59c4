"""The node's client against a real broker and a peer that speaks the contract."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import nats
import pytest

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import DETAIL_MAX_BYTES
from errorkernel.domain.liveness import HEARTBEAT_INTERVAL_S
from errorkernel.domain.values import Event, EventType, Level, OutcomeState
from errorkernel.node import Action, BlockingKernel, CredentialsError, Kernel, NodeError
from errorkernel.node.delivery import decisions
from errorkernel.node.journal import incidents
from errorkernel.node.journal.next_window import Window
from errorkernel.protocol import subjects
from tests.support.node_peer import NODE, Broker, PeerKernel, peer_kernel, program_env
from tests.support.waiting import PATIENCE_S, eventually


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    server = Broker(tmp_path / "broker").start()
    yield server
    server.stop()


@pytest.fixture
async def peer(broker: Broker) -> AsyncIterator[PeerKernel]:
    async with peer_kernel(broker) as running:
        yield running


@pytest.fixture
def credentials(broker: Broker, tmp_path: Path) -> Path:
    return broker.credentials(tmp_path / "ship1.json")


@pytest.fixture
async def kernel(credentials: Path, tmp_path: Path) -> AsyncIterator[Kernel]:
    async with Kernel.from_file(credentials, journal=tmp_path / "journal") as opened:
        yield opened


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The periodic repair without its patience."""
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 0.3)
    monkeypatch.setattr(decisions, "SYNC_RETRY_S", 0.1)
    monkeypatch.setattr(decisions, "RESEND_FIRST_S", 0.5)


async def test_a_report_arrives_with_everything_that_was_said(kernel: Kernel, peer: PeerKernel) -> None:
    try:
        open("/nowhere/a.tif").close()
    except OSError as exc:
        event_id = await kernel.error(
            exc,
            process="copy-files",
            level="critical",
            message={"id": 7, "method": "REQCopySrc", "from_node": "central", "to_node": "ship1", "data": b"a.tif"},
            tags={"release": "1.4.2", "n": 3},
            fingerprint=["copy", "missing"],
            relay_from_node="relay1",
        )
    await kernel.info("copied 12 files")
    await eventually(lambda: len(peer.arrived) == 2)
    error, info = peer.arrived
    assert (error.id, error.type, error.level, error.process) == (event_id, "error", "critical", "copy-files")
    assert (error.kind, error.incarnation) == ("FileNotFoundError", 1)
    assert "test_node.py" in error.stack
    assert error.message is not None
    assert (error.message.id, error.message.method, error.message.data) == ("7", "REQCopySrc", "a.tif")
    assert (error.tags, error.fingerprint) == ({"release": "1.4.2", "n": "3"}, ("copy", "missing"))
    assert error.relay_from_node == "relay1"
    assert error.occurred_at is not None
    assert abs(error.occurred_at.timestamp() - time.time()) < 30
    assert (info.type, info.level, info.process) == ("info", "info", "main")


async def test_reports_made_while_the_broker_is_away_arrive_once_and_in_order(broker: Broker, tmp_path: Path) -> None:
    async with peer_kernel(broker) as peer:
        credentials = broker.credentials(tmp_path / "c.json")
        async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
            await kernel.info("before")
            await kernel.flush(PATIENCE_S)
            broker.stop()
            for number in range(300):
                await kernel.error(f"error {number}", process=f"p{number % 3}")
            assert not kernel.connected
            broker.start()
            await kernel.flush(PATIENCE_S)
            await eventually(lambda: len(peer.events) == 301)
            for process in range(3):
                assert peer.texts(f"p{process}") == [f"error {number}" for number in range(process, 300, 3)]


async def test_a_link_that_breaks_in_mid_flow_costs_no_report_and_no_order(kernel: Kernel, peer: PeerKernel) -> None:
    async def report() -> None:
        for number in range(1500):
            await kernel.error(f"{number}", process=f"p{number % 2}")

    async def cut() -> None:
        for _ in range(5):
            await asyncio.sleep(0.1)
            if kernel._delivery.connection._client:
                await kernel._delivery.connection._client.close()

    await asyncio.gather(report(), cut())
    await kernel.flush(PATIENCE_S)
    await eventually(lambda: len(peer.events) == 1500)
    for process in range(2):
        # The stream drops repeats by their id; the peer may be handed one twice, which moves nothing.
        first_seen = list(dict.fromkeys(peer.texts(f"p{process}")))
        assert first_seen == [f"{number}" for number in range(process, 1500, 2)]


async def test_a_report_written_before_sigkill_is_sent_by_the_next_start(
    broker: Broker, peer: PeerKernel, tmp_path: Path
) -> None:
    credentials = broker.credentials(tmp_path / "c.json")
    unreachable = tmp_path / "unreachable.json"
    unreachable.write_text(json.dumps({**json.loads(credentials.read_text()), "nats_url": "nats://127.0.0.1:9"}))
    program = textwrap.dedent(f"""
        import time
        from errorkernel.node import BlockingKernel
        kernel = BlockingKernel.from_file({str(unreachable)!r}, journal={str(tmp_path / "j")!r})
        for number in range(100):
            kernel.error(f"error {{number}}", process="p")
        print("written", flush=True)
        kernel.ask("may I?", process="p")
    """)
    dying = subprocess.Popen([sys.executable, "-c", program], env=program_env(), stdout=subprocess.PIPE, text=True)
    assert dying.stdout
    assert await asyncio.to_thread(dying.stdout.readline) == "written\n"
    await asyncio.sleep(0.3)
    dying.send_signal(signal.SIGKILL)
    dying.wait()
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        await kernel.error("after", process="p")
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: len(peer.events) == 102)
        assert peer.texts("p") == [f"error {number}" for number in range(100)] + ["may I?", "after"]
        # Who asked is gone, so nobody must be shown a question that nobody waits on.
        question = await peer.question()
        ended = await peer.ended(question.id)
        assert (ended.state, ended.decision_id, ended.incarnation) == ("withdrawn", None, 1)
        assert peer.arrived[-1].incarnation == 2


async def test_ask_returns_the_answer_and_continue_is_applied_when_it_does(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask("disk full", process="p", deadline_s=60, on_deadline="kill"))
    question = await peer.question()
    assert (question.deadline_s, question.on_deadline) == (60, "kill")
    await eventually(lambda: (found := peer.process("p")) and found.state == "blocked")
    assert peer.outcomes == []
    decision = await peer.decide(question.id, Action.CONTINUE)
    assert await asking is Action.CONTINUE
    ended = await peer.ended(question.id)
    assert (ended.state, ended.decision_id, ended.incarnation) == ("applied", decision.decision_id, 1)
    await eventually(lambda: peer.process("p").state == "running")


async def test_the_same_decision_again_is_harmless(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    decision = await peer.decide(question.id, Action.CONTINUE)
    await asking
    for number in range(3):
        await peer.publish(decision, msg_id=f"again {number}")
    await peer.ended(question.id)
    info = await eventually_delivered(peer)
    assert info["num_pending"] == info["num_ack_pending"] == 0
    await kernel.flush(PATIENCE_S)
    assert [one.state for one in peer.outcomes] == ["applied"]


async def eventually_delivered(peer: PeerKernel) -> dict:
    """The state of the node's durable once everything in it has been answered."""
    for _ in range(200):
        info = await peer.connection.api(f"CONSUMER.INFO.{subjects.DECISIONS_STREAM}.{subjects.durable_of(NODE)}", {})
        if not info["num_pending"] and not info["num_ack_pending"]:
            return info
        await asyncio.sleep(0.05)
    raise AssertionError(info)


async def test_a_decision_for_another_incarnation_is_stale_and_the_process_waits_on(
    kernel: Kernel, peer: PeerKernel
) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    await peer.publish(peer.make_decision(question.id, Action.KILL, incarnation=99))
    ended = await peer.ended(question.id)
    assert ended.state == "stale"
    await asyncio.sleep(0.2)
    assert not asking.done()
    await peer.decide(question.id, Action.CONTINUE)
    assert await asking is Action.CONTINUE


async def test_a_call_that_is_given_up_withdraws_its_question(kernel: Kernel, peer: PeerKernel) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await kernel.ask("may I?", process="p")
    question = await peer.question()
    assert (await peer.ended(question.id)).state == "withdrawn"
    late = await peer.decide(question.id, Action.CONTINUE)
    await eventually(lambda: [one.state for one in peer.outcomes] == ["withdrawn", "stale"])
    assert peer.outcomes[1].decision_id == late.decision_id


async def test_kill_of_a_bare_ask_is_applied_only_when_its_program_ends(
    credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        asking = asyncio.create_task(kernel.ask("stuck", process="p"))
        question = await peer.question()
        await peer.decide(question.id, Action.KILL)
        assert await asking is Action.KILL
        await kernel.flush(PATIENCE_S)
        await asyncio.sleep(0.2)
        assert peer.outcomes == []
    assert (await peer.ended(question.id)).state == "applied"


async def test_kill_of_a_bare_ask_whose_program_dies_is_applied_by_the_next_incarnation(
    credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    program = textwrap.dedent(f"""
        import os
        from errorkernel.node import Action, BlockingKernel
        kernel = BlockingKernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r})
        if kernel.ask("stuck", process="p") is Action.KILL:
            os.kill(os.getpid(), 9)
    """)
    dying = subprocess.Popen([sys.executable, "-c", program], env=program_env())
    question = await peer.question()
    await peer.decide(question.id, Action.KILL)
    assert await asyncio.to_thread(dying.wait) == -9
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        await kernel.info("other process", process="q")
        await kernel.flush(PATIENCE_S)
        assert peer.outcomes == [], "nobody has started a new one yet"
        await kernel.info("here again", process="p")
        ended = await peer.ended(question.id)
        assert (ended.state, ended.incarnation, ended.new_incarnation) == ("applied", 1, 2)


async def test_an_answer_that_only_sync_knows_arrives(quick: None, kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    await peer.decide(question.id, Action.CONTINUE, publish=False)
    assert await asyncio.wait_for(asking, PATIENCE_S) is Action.CONTINUE
    assert (await peer.ended(question.id)).state == "applied"


async def test_an_answer_that_is_handed_to_a_connection_which_is_no_more_comes_soon_all_the_same(
    broker: Broker, credentials: Path, peer: PeerKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that was told nothing goes on serving what a dead program, or our own last connection, had asked for."""
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 3600)
    dead = await nats.connect(broker.server.url, nkeys_seed_str=broker.node_seed, inbox_prefix=f"_INBOX_{NODE}")
    gone = await dead.subscribe(f"_INBOX_{NODE}.dead")
    wanted = json.dumps({"batch": 20, "expires": 30 * 10**9}).encode()
    await dead.publish(f"$JS.API.CONSUMER.MSG.NEXT.EK_DECISIONS.node-{NODE}", wanted, reply=gone.subject)
    await dead.flush()
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        asking = asyncio.create_task(kernel.ask("may I?", process="p"))
        question = await peer.question()
        await peer.decide(question.id, Action.CONTINUE)
        assert await asyncio.wait_for(asking, 20) is Action.CONTINUE  # the dead request holds for 30 s
        assert str(question.id) in (await gone.next_msg(5)).subject
    await dead.close()


async def test_after_total_loss_of_the_brokers_data_the_question_is_asked_again_and_answered(
    quick: None, broker: Broker, credentials: Path, tmp_path: Path
) -> None:
    async with Kernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        async with peer_kernel(broker) as first:
            first.deaf = True
            asking = asyncio.create_task(kernel.ask("may I?", process="p"))
            await kernel.info("has gone out", process="q")
            await kernel.flush(PATIENCE_S)
        broker.stop()
        shutil.rmtree(broker.directory / "nats" / "jetstream")
        broker.start()
        async with peer_kernel(broker) as second:
            question = await second.question("p")
            # The wiped broker also forgot this decision before it was delivered.
            await second.decide(question.id, Action.CONTINUE, publish=False)
            assert await asyncio.wait_for(asking, PATIENCE_S) is Action.CONTINUE
            assert (await second.ended(question.id)).state == "applied"


async def test_an_outcome_that_was_lost_on_its_way_is_told_by_sync(
    quick: None, kernel: Kernel, peer: PeerKernel
) -> None:
    asking = asyncio.create_task(kernel.ask("may I?", process="p"))
    question = await peer.question()
    peer.deaf = True
    await peer.decide(question.id, Action.CONTINUE)
    await asking
    await eventually(lambda: [one.state for one in peer.outcomes] == ["applied"])
    syncs = peer.syncs
    await eventually(lambda: peer.syncs >= syncs + 2)
    assert kernel.incidents.unconfirmed()[0] == []
    peer.deaf = False


async def test_outcomes_that_the_kernel_will_not_take_hold_up_no_others(
    quick: None, kernel: Kernel, peer: PeerKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "SYNC_ITEMS", 2)
    peer.deaf = True  # so the peer has heard of none of these questions
    asked = [uuid7() for _ in range(5)]
    for one in asked:
        await kernel.call(kernel.incidents.open, one, "p", 1, b"{}")
        await kernel.call(kernel.incidents.end, one, OutcomeState.WITHDRAWN)
    peer.arrived.append(Event(id=asked[-1], type=EventType.ACTION, level=Level.ERROR, process="p", text="?"))
    await eventually(lambda: peer.outcome(asked[-1]))
    await eventually(lambda: asked[-1] not in unconfirmed(kernel))
    assert unconfirmed(kernel) == set(asked[:-1])


def unconfirmed(kernel: Kernel) -> set[UUID]:
    """All that are, though one request takes less."""
    found: set[UUID] = set()
    mark = incidents.START
    for _ in range(5):
        outcomes, mark = kernel.incidents.unconfirmed(mark)
        found |= {one.incident for one in outcomes}
    return found


async def test_an_outcome_that_says_too_much_arrives_cut(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask_for_decision("may I?", process="p"))
    question = await peer.question()
    await peer.decide(question.id, Action.KILL)
    await kernel.report_outcome(await asking, OutcomeState.FAILED, detail="x" * 300_000)
    ended = await peer.ended(question.id)
    assert (ended.state, ended.detail) == ("failed", "x" * DETAIL_MAX_BYTES)


async def test_long_outcomes_go_in_several_requests(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "SYNC_OUTCOME_BYTES", 2 * 1200)
    asked = [uuid7() for _ in range(5)]
    for one in asked:
        await kernel.call(kernel.incidents.open, one, "p", 1, b"{}")
        await kernel.call(kernel.incidents.end, one, OutcomeState.FAILED, detail="x" * 900)
    pages, mark = [], incidents.START
    for _ in range(3):
        outcomes, mark = kernel.incidents.unconfirmed(mark)
        pages.append([one.incident for one in outcomes])
    assert pages == [asked[:2], asked[2:4], asked[4:]]


async def test_what_had_no_room_in_a_reply_is_asked_for_soon(
    kernel: Kernel, peer: PeerKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "SYNC_INTERVAL_S", 3600)
    monkeypatch.setattr(decisions, "SYNC_RETRY_S", 0.1)
    peer.reply_bytes = 400  # of one decision
    asking = [asyncio.create_task(kernel.ask("may I?", process=f"p{number}")) for number in range(3)]
    for number in range(3):
        question = await peer.question(f"p{number}")
        peer.silent = True
        await peer.decide(question.id, Action.CONTINUE, publish=False)
    kernel._delivery.receiver._losses_until = 0.0  # as 30 s after it has connected
    peer.silent = False
    assert await asyncio.wait_for(asyncio.gather(*asking), PATIENCE_S) == [Action.CONTINUE] * 3


async def test_a_sync_that_the_kernel_refuses_confirms_nothing(quick: None, kernel: Kernel, peer: PeerKernel) -> None:
    peer.refuses = True
    asked = uuid7()
    await kernel.call(kernel.incidents.open, asked, "p", 1, b"{}")
    await kernel.call(kernel.incidents.end, asked, OutcomeState.WITHDRAWN)
    syncs = peer.syncs
    await eventually(lambda: peer.syncs >= syncs + 3)
    assert unconfirmed(kernel) == {asked}


async def test_a_question_of_another_journal_is_left_to_whoever_asked(
    monkeypatch: pytest.MonkeyPatch, credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    monkeypatch.setattr(decisions, "UNKNOWN_NAK_S", 0.05)
    async with (
        Kernel.from_file(credentials, journal=tmp_path / "one") as asker,
        Kernel.from_file(credentials, journal=tmp_path / "two"),
    ):
        for number in range(4):
            asking = asyncio.create_task(asker.ask(f"may I {number}?", process="p"))
            question = await peer.question(after=number)
            await peer.decide(question.id, Action.CONTINUE)
            assert await asyncio.wait_for(asking, 10) is Action.CONTINUE  # sooner than a sync would tell
    assert {one.state for one in peer.outcomes} == {"applied"}


async def test_programs_that_share_a_journal_get_their_own_answers(
    credentials: Path, peer: PeerKernel, tmp_path: Path
) -> None:
    program = textwrap.dedent(f"""
        import sys
        from errorkernel.node import BlockingKernel
        with BlockingKernel.from_file({str(credentials)!r}, journal={str(tmp_path / "j")!r}) as kernel:
            for number in range(50):
                kernel.error(f"{{number}}", process=sys.argv[1])
            for number in range(4):
                kernel.ask(f"ask {{number}}", process=sys.argv[1])
    """)
    names = ("a", "b", "c")
    programs = [subprocess.Popen([sys.executable, "-c", program, name], env=program_env()) for name in names]
    for number in range(4):
        for name in names:
            question = await peer.question(name, after=number)
            await peer.decide(question.id, Action.CONTINUE)
    assert [await asyncio.to_thread(one.wait, 20) for one in programs] == [0, 0, 0]
    await eventually(lambda: len(peer.outcomes) == 12)
    assert {one.state for one in peer.outcomes} == {"applied"}
    for name in names:
        assert peer.texts(name) == [f"{number}" for number in range(50)] + [f"ask {number}" for number in range(4)]


async def test_a_refused_report_holds_up_nothing(
    broker: Broker, peer: PeerKernel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Credentials of ship1 under another name: the broker lets it in, and refuses what it says.
    async with Kernel("ship2", broker.server.url, nkey_seed=broker.node_seed, journal=tmp_path / "j") as kernel:
        await kernel.error("one", process="p")
        await kernel.error("two", process="p")
        await eventually(lambda: kernel.backlog.totals()["refused"] == 2)
        assert kernel.backlog.count_own() == 0
        await kernel.flush(1)
    assert "refuses a message of p" in caplog.text


async def test_a_refused_report_is_refused_alone(kernel: Kernel, peer: PeerKernel) -> None:
    kernel.backlog.add("p", subjects.event(NODE), "too big", 1, b"x" * 2_000_000)
    await kernel.error("small", process="p")
    await eventually(lambda: peer.texts() == ["small"])
    assert kernel.backlog.totals()["refused"] == 1


async def test_what_was_dropped_is_told(credentials: Path, peer: PeerKernel, broker: Broker, tmp_path: Path) -> None:
    async with Kernel.from_file(credentials, journal=tmp_path / "j", max_reports=10) as kernel:
        await eventually(lambda: peer.hellos)
        broker.stop()
        # A report that is on its way when the broker stops may have arrived, and be dropped as well.
        await eventually(lambda: not kernel.connected)
        for number in range(25):
            await kernel.info(f"info {number}")
        await kernel.error("error")
        broker.start()
        # A hello that is said before the peer is back is lost, and the next one is said half a minute later.
        await eventually(lambda: peer.hellos and peer.hellos[-1].dropped == 16, HEARTBEAT_INTERVAL_S + 15)
        await kernel.flush(PATIENCE_S)
        await eventually(lambda: peer.texts() == [*(f"info {number}" for number in range(16, 25)), "error"])


async def test_hello_tells_what_runs(kernel: Kernel, peer: PeerKernel) -> None:
    await kernel.info("x", process="web")
    await eventually(lambda: peer.process("web"))
    told = peer.process("web")
    assert (told.state, told.incarnation, told.pid) == ("running", 1, os.getpid())
    assert peer.hellos[-1].version.startswith("steward-error-kernel")
    assert peer.hellos[-1].at is not None


async def test_a_hello_that_is_too_large_for_the_broker_is_told(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    await eventually(lambda: kernel.connected)
    assert kernel._delivery.connection._client is not None
    kernel._delivery.connection._client._max_payload = 10  # of what a broker says as it takes a connection
    await kernel._delivery.heartbeat.send()
    assert "The broker refuses a heartbeat with 0 processes" in caplog.text


async def test_reports_that_have_to_wait_for_another_program_keep_their_order_and_hold_up_nothing_else(
    kernel: Kernel, peer: PeerKernel, tmp_path: Path
) -> None:
    await kernel.info("0", process="p")
    other = sqlite3.connect(tmp_path / "journal", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = [asyncio.create_task(kernel.info(f"{number}", process="p")) for number in range(1, 6)]
    turns = 0
    while turns < 20:  # the event loop goes round, though nothing can be written
        await asyncio.sleep(0.01)
        turns += 1
    assert not any(task.done() for task in waiting)
    other.execute("ROLLBACK")
    other.close()
    # These find the way free while the former may still be in the journal's thread.
    await asyncio.gather(*waiting[:1], *(kernel.info(f"{number}", process="p") for number in range(6, 30)))
    await asyncio.gather(*waiting)
    await eventually(lambda: len(peer.events) == 30)
    assert list(dict.fromkeys(peer.texts("p"))) == [f"{number}" for number in range(30)]


async def test_a_program_that_reports_without_pause_lets_others_run(kernel: Kernel) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    await kernel.info("the first one goes through the journal's thread")
    running = asyncio.create_task(other())
    for number in range(100):
        await kernel.info(f"{number}")
    running.cancel()
    assert turns >= 40


async def test_an_unanswerable_journal_call_does_not_end_the_client(kernel: Kernel, peer: PeerKernel) -> None:
    """A background part that fails is logged and started again."""
    real = kernel.backlog.next_window
    calls = []

    def failing(*arguments: int) -> Window:
        calls.append(arguments)
        if len(calls) < 2:
            raise RuntimeError("a fault of ours")
        return real(*arguments)

    kernel.backlog.next_window = failing  # type: ignore[method-assign]
    await kernel.error("still sent", process="p")
    await eventually(lambda: peer.texts() == ["still sent"])


def test_blocking_face(broker: Broker, credentials: Path, tmp_path: Path) -> None:
    async def other_side(ready: threading.Event) -> list[str]:
        async with peer_kernel(broker) as peer:
            ready.set()
            question = await peer.question()
            await peer.decide(question.id, Action.CONTINUE)
            await peer.ended(question.id)
            await eventually(lambda: len(peer.arrived) == 3)
            return peer.texts()

    found: list[str] = []
    ready = threading.Event()
    thread = threading.Thread(target=lambda: found.extend(asyncio.run(other_side(ready))))
    thread.start()
    assert ready.wait(PATIENCE_S)
    with BlockingKernel.from_file(credentials, journal=tmp_path / "j") as kernel:
        assert isinstance(kernel.info("one"), UUID)
        kernel.error(ValueError("two"))
        assert kernel.ask("three") is Action.CONTINUE
        kernel.flush(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert found == ["one", "two", "three"]
    with pytest.raises(NodeError, match="closed"):
        kernel.info("four")
    kernel.close()


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "raise SystemExit(0)", "kernel.close()"])
def test_a_program_that_forgets_to_close_ends_all_the_same(ending: str, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import sys, threading
        from errorkernel.node import BlockingKernel
        kernel = BlockingKernel("ship1", "nats://127.0.0.1:9", journal={str(tmp_path / "j")!r})
        kernel.error("kept", process="p")
        threading.Thread(target=lambda: kernel.ask("for ever", process="p"), daemon=True).start()
        {ending}
    """)
    # It waits a moment for a first connection (``close_wait_s``), and then ends: the bound is the time-out.
    done = subprocess.run(
        [sys.executable, "-c", program], env=program_env(), timeout=PATIENCE_S, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_child_is_told_to_make_its_own(tmp_path: Path) -> None:
    with BlockingKernel("ship1", "nats://127.0.0.1:9", journal=tmp_path / "j") as kernel:
        child = os.fork()
        if not child:
            try:
                kernel.error("x")
            except NodeError:
                os._exit(17)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
        kernel.error("y")


def test_credentials_that_cannot_be_used_are_told_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CredentialsError, match="cannot be read"):
        Kernel.from_file(tmp_path / "none.json")
    for number, text in enumerate(["", "[]", "{}", '{"node": "a"}', "3"]):
        (tmp_path / f"{number}").write_text(text)
        with pytest.raises(CredentialsError):
            Kernel.from_file(tmp_path / f"{number}")
    with pytest.raises(CredentialsError, match="not a node name"):
        Kernel("a.b", "nats://127.0.0.1:9", journal=tmp_path / "j")
    monkeypatch.delenv("STEWARD_NODE_CREDENTIALS", raising=False)
    with pytest.raises(CredentialsError, match="STEWARD_NODE_CREDENTIALS"):
        Kernel.from_env()


async def test_from_env_names_credentials_and_journal(
    credentials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEWARD_NODE_CREDENTIALS", str(credentials))
    monkeypatch.setenv("STEWARD_NODE_JOURNAL", str(tmp_path / "own" / "journal"))
    async with Kernel.from_env() as kernel:
        assert kernel.node == NODE
        await kernel.info("x")
    assert (tmp_path / "own" / "journal").exists()


async def test_settle_counts_once(kernel: Kernel, peer: PeerKernel) -> None:
    asking = asyncio.create_task(kernel.ask_for_decision("may I?", process="p"))
    question = await peer.question()
    await peer.decide(question.id, Action.STOP)
    decision = await asking
    assert (decision.action, decision.by, decision.reason) == (Action.STOP, "user:alice", "because")
    await kernel.report_outcome(decision, OutcomeState.FAILED, detail="cannot")
    await kernel.report_outcome(decision, OutcomeState.APPLIED)
    ended = await peer.ended(question.id)
    assert (ended.state, ended.detail) == ("failed", "cannot")
    await kernel.flush(PATIENCE_S)
    assert len(peer.outcomes) == 1


def test_the_node_package_works_where_django_is_blocked() -> None:
    code = (
        "import sys\nfor name in ('django', 'channels', 'daphne'): sys.modules[name] = None\n"
        "import errorkernel.node as node\nfor name in node.__all__: getattr(node, name)\n"
        "import errorkernel.node.process.worker, errorkernel.node.supervision.task_worker\n"
        "import errorkernel.node.process.child\n"
    )
    assert subprocess.run([sys.executable, "-c", code], env=program_env()).returncode == 0


def test_a_supervised_child_loads_no_broker_client() -> None:
    code = "import sys, errorkernel.node.process.child; sys.exit('nats' in sys.modules or 'sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=program_env()).returncode == 0


async def test_closing_at_any_moment_of_connecting_takes_no_time(credentials: Path, tmp_path: Path) -> None:
    for number in range(25):
        kernel = await Kernel.from_file(credentials, journal=tmp_path / "j").__aenter__()
        await asyncio.sleep(number * 0.001)
        began = time.monotonic()
        await kernel.__aexit__(None, None, None)
        assert time.monotonic() - began < 5


SHORT = """
import sys
from errorkernel.node import BlockingKernel
with BlockingKernel.from_file(sys.argv[1], journal=sys.argv[2]) as kernel:
    kernel.error(sys.argv[3], process="short")
"""


async def test_a_short_program_waits_for_its_first_connection(
    peer: PeerKernel, credentials: Path, tmp_path: Path
) -> None:
    for number in range(10):
        arguments = [str(credentials), str(tmp_path / f"journal {number}"), f"run {number}"]
        done = await asyncio.create_subprocess_exec(sys.executable, "-c", SHORT, *arguments, env=program_env())
        assert await done.wait() == 0
    await eventually(lambda: len(peer.texts("short")) == 10)
    assert peer.texts("short") == [f"run {number}" for number in range(10)]


def test_the_wait_for_the_first_connection_has_a_bound(tmp_path: Path) -> None:
    for bound_s, reported in ((0.0, True), (1.0, True), (30.0, False)):
        kernel = BlockingKernel("ship1", "nats://127.0.0.1:9", journal=tmp_path / "j", close_wait_s=bound_s)
        if reported:
            kernel.error("x")
        else:
            db = sqlite3.connect(tmp_path / "j")
            db.execute("DELETE FROM backlog")
            db.commit()
            db.close()
        began = time.monotonic()
        kernel.close()
        assert (bound_s if reported else 0) <= time.monotonic() - began < bound_s + 3
