"""Chaos: plans, links with faults, clocks that jump."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.ops.chaos import ledger, plan, sabotage
from errorkernel.ops.chaos.frames import Splitter
from errorkernel.ops.chaos.instance import Part
from errorkernel.ops.chaos.plan import Kind
from errorkernel.ops.chaos.proxy import Mode, Proxy, Switchboard
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S, wait_for

NODES = ("ship1", "ship2")


# --- the plan ---------------------------------------------------------------------------------------------------------


@given(seed=st.integers(), faults=st.integers(0, 200))
def test_a_plan_is_the_same_for_the_same_seed_and_has_what_was_asked_for(seed: int, faults: int) -> None:
    made = plan.make(seed, faults, NODES, 1.0)
    assert made == plan.make(seed, faults, NODES, 1.0)
    assert len(made) == faults
    assert [one.at_s for one in made] == sorted(one.at_s for one in made)
    assert all(one.lasts_s > 0 for one in made)
    assert len({one.kind for one in made}) >= min(faults, len(Kind))
    for one in made:
        what = one.kind.partition(".")[0]
        assert one.target in {"node": NODES, "link": (*NODES, "kernel", "web")}.get(what, (what,))
        assert bool(one.amount_s) == (one.kind is Kind.NODE_CLOCK)


def test_other_seeds_give_other_plans() -> None:
    assert len({plan.make(seed, 20, NODES, 1.0) for seed in range(20)}) == 20


# --- the links --------------------------------------------------------------------------------------------------------

MESSAGES = [
    b"PING\r\n",
    b'CONNECT {"verbose":false}\r\n',
    b"PUB ek.evt.a 11\r\nhello\r\nPUB \r\n",
    b"HPUB ek.evt.a inbox 12 14\r\nNATS/1.0\r\n\r\nok\r\n",
    b"MSG a 1 0\r\n\r\n",
    b"HMSG a 1 reply 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
    b"SUB inbox.* 1\r\n",
]


@given(order=st.lists(st.sampled_from(MESSAGES), max_size=20), cuts=st.lists(st.integers(1, 40), max_size=60))
def test_messages_are_whole_however_the_bytes_arrive(order: list[bytes], cuts: list[int]) -> None:
    rest, splitter, found = b"".join(order), Splitter(), []
    for cut in cuts:
        found += splitter.feed(rest[:cut])
        rest = rest[cut:]
    found += splitter.feed(rest)
    assert [frame.data for frame in found] == order
    assert [frame.carries for frame in found] == [one.split()[0] not in (b"PING", b"CONNECT", b"SUB") for one in order]


class Link:
    """A proxy before a server that keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.board = Switchboard()
        port = asyncio.run_coroutine_threadsafe(self._serve(), self.board.loop).result(PATIENCE_S)
        self.proxy = Proxy("ship1", lambda: port, self.board.loop, 1)
        self.proxy.start()

    async def _serve(self) -> int:
        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionResetError):
                while data := await reader.read(1000):
                    self.heard += data

        server = await asyncio.start_server(hear, "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    async def say(self, *messages: bytes) -> asyncio.StreamWriter:
        _, writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        for one in messages:
            writer.write(one)
        await writer.drain()
        return writer

    def set(self, mode: Mode) -> None:
        self.proxy.begin(mode)
        wait_for(lambda: self.proxy.on(mode))


@pytest.fixture
def link() -> Any:
    link = Link()
    yield link
    link.board.close()


def messages(count: int) -> list[bytes]:
    return [b"PUB a 3\r\n%03d\r\n" % number for number in range(count)]


async def heard(link: Link, enough: Callable[[list[bytes]], bool]) -> list[bytes]:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = [frame.data for frame in Splitter().feed(link.heard)]
            if enough(found):
                return found
            await asyncio.sleep(0.02)


async def test_a_link_without_faults_changes_nothing(link: Link) -> None:
    await link.say(*messages(50))
    assert await heard(link, lambda found: len(found) == 50) == messages(50)


@pytest.mark.parametrize("mode", [Mode.DOUBLE, Mode.REPLAY, Mode.SHUFFLE])
async def test_a_bad_link_repeats_and_mixes_whole_messages_and_loses_none(mode: Mode, link: Link) -> None:
    link.set(mode)
    await link.say(*messages(200))
    found = await heard(link, lambda found: set(found) == set(messages(200)))
    assert found != messages(200)
    assert (len(found) > 200) == (mode is not Mode.SHUFFLE)


async def test_a_cut_link_holds_what_was_sent_until_it_is_mended(link: Link) -> None:
    link.set(Mode.CUT)
    await link.say(*messages(5))
    await asyncio.sleep(0.2)
    assert link.heard == b""
    link.proxy.end(Mode.CUT)
    assert await heard(link, lambda found: len(found) == 5) == messages(5)


async def test_a_reset_link_ends_what_is_open_and_refuses_what_comes(link: Link) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.proxy.port)
    writer.write(messages(1)[0])
    await heard(link, lambda found: len(found) == 1)
    link.set(Mode.RESET)
    for _ in range(2):
        # Whoever connects now may hear of it before the connection is made, or afterwards.
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            reader, _ = await asyncio.open_connection("127.0.0.1", link.proxy.port)


# --- parts, ledger, clock, periods ------------------------------------------------------------------------------------


def test_a_part_that_is_held_stays_down_and_one_that_ends_by_itself_is_started_and_told(tmp_path: Path) -> None:
    part = Part("part", ["-c", "import time; time.sleep(60)"], {}, tmp_path / "log")
    part.holds = 1
    part.tend()
    assert not part.running
    part.holds = 0
    part.tend()
    first = part.pid
    part.kill()
    part.tend()
    assert part.pid not in (first, None)
    assert part.unordered_ends == []
    part.signal(9)
    wait_for(lambda: not part.running)
    part.tend()
    assert part.running
    assert part.unordered_ends == [-9]
    part.stop()
    assert not part.running


def test_a_ledger_is_read_up_to_where_its_program_was_killed(tmp_path: Path) -> None:
    book = ledger.Ledger(tmp_path / "ledger")
    book.write("born", process="copy", incarnation=1)
    book.write("reported", text="a\nb")
    with (tmp_path / "ledger").open("ab") as file:
        file.write(b'{"what": "rep')
    assert [(one.what, one["text"]) for one in ledger.read(tmp_path / "ledger")] == [
        ("born", None),
        ("reported", "a\nb"),
    ]
    assert ledger.read(tmp_path / "none") == []


CLOCK = """
import datetime as real, os, signal, sys, time
from pathlib import Path
from errorkernel.node.journal import incidents
from errorkernel.node.process import messages
from errorkernel.ops.chaos import clock
file = Path(sys.argv[1])
clock.jump(file, 86400)
before, monotonic = time.time(), time.monotonic()
clock.install(file)
assert 86300 < time.time() - before < 86500 and time.monotonic() - monotonic < 50
assert 86300 < incidents.datetime.now(real.UTC).timestamp() - before < 86500
assert type(incidents.datetime.now(real.UTC)) is real.datetime
assert type(messages.datetime.fromisoformat("2026-11-24T10:00:00+00:00")) is real.datetime
clock.jump(file, 0)
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.01)
assert abs(time.time() - before) < 50
"""


def test_a_clock_jumps_for_one_program_alone_and_comes_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOCK, str(tmp_path / "clock")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_period_that_is_shortened_exists_and_is_shortened() -> None:
    code = (
        "from errorkernel.ops.chaos import periods\nfrom errorkernel.node.delivery import decisions\n"
        "was = decisions.SYNC_INTERVAL_S\nperiods.hasten()\n"
        "assert decisions.SYNC_INTERVAL_S == periods.SYNC_S == was / periods.FACTOR"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_product_itself_knows_no_switch_for_its_protections() -> None:
    users = [path for path in (ROOT / "errorkernel").rglob("*.py") if sabotage.VARIABLE in path.read_text()]
    assert {path.parent.name for path in users} == {"chaos"}
