"""The node client starts, ends, and is used from blocking programs."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest

from errorkernel.domain.values import OutcomeState
from errorkernel.node import Action, BlockingKernel, CredentialsError, Kernel, NodeError
from tests.support.node_peer import NODE, Broker, PeerKernel, peer_kernel, program_env
from tests.support.waiting import PATIENCE_S, eventually


def test_blocking_face(broker: Broker, credentials: Path, tmp_path: Path) -> None:
    async def other_side(ready: threading.Event) -> list[str]:
        async with peer_kernel(broker) as peer:
            ready.set()
            question = await peer.question()
            await peer.decide(question.id, Action.CONTINUE)
            await peer.ended(question.id)
            # An incident may arrive twice: on a slow machine, reconciliation repeats it.
            await eventually(lambda: len(set(peer.texts())) == 3)
            return list(dict.fromkeys(peer.texts()))

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
