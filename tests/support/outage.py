"""A node at the end of a link that is away: it reports, is killed, starts again, asks; then the link comes back.

``python -m tests.support.outage MINUTES [EVENTS]`` plays it in real time, as root with a link that is cut in a network
namespace (packets vanish, nobody is told), else with a product that is stopped. ``tests/e2e/test_outage.py`` plays it
in seconds.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from errorkernel.domain.values import EventType
from errorkernel.node import Action, Kernel
from errorkernel.node.reporting.event_builder import describe
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import wait_for

NODE = "far-ship"
PROCESSES = 3


class Cable:
    """A network of its own for the node, at the end of one cable (Linux, root)."""

    possible = os.geteuid() == 0 and shutil.which("ip") is not None

    def __init__(self) -> None:
        self._name = f"ek{os.getpid() % 100_000}"
        third, fourth = os.getpid() // 60 % 250, os.getpid() % 60 * 4
        self.host, self._guest = f"10.231.{third}.{fourth + 1}", f"10.231.{third}.{fourth + 2}"

    def __enter__(self) -> "Cable":
        name, there = self._name, ("netns", "exec", self._name, "ip")
        _ip("netns", "add", name)
        _ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b")
        _ip("link", "set", f"{name}b", "netns", name)
        _ip("addr", "add", f"{self.host}/30", "dev", f"{name}a")
        _ip("link", "set", f"{name}a", "up")
        _ip(*there, "addr", "add", f"{self._guest}/30", "dev", f"{name}b")
        _ip(*there, "link", "set", f"{name}b", "up")
        return self

    def __exit__(self, *exc: object) -> None:
        _ip("link", "del", f"{self._name}a")
        _ip("netns", "del", self._name)

    def argv(self, argv: Sequence[str]) -> list[str]:
        """The command, run at the far end."""
        return ["ip", "netns", "exec", self._name, *argv]

    def cut(self) -> None:
        _ip("link", "set", f"{self._name}a", "down")

    def mend(self) -> None:
        _ip("link", "set", f"{self._name}a", "up")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Ship:
    """The node's program, as a process of its own that can be killed; it says what it did on its standard output."""

    def __init__(self, directory: Path, given: dict[str, str], cable: Cable | None) -> None:
        self._directory = directory
        self._cable = cable
        self._process: subprocess.Popen[str] | None = None
        (directory / "ship.json").write_text(json.dumps(given))

    def sail(self, first: int, last: int, *more: str) -> None:
        """Report the events from ``first`` up to ``last``; ``more``: see ``main_ship``."""
        directory = str(self._directory)
        argv = [sys.executable, "-m", "tests.support.outage", "ship", directory, str(first), str(last), *more]
        self._process = subprocess.Popen(
            self._cable.argv(argv) if self._cable else argv, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    def says(self, word: str) -> None:
        """Wait until it says this."""
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        assert line == word, f"{line!r} instead of {word!r}"

    def kill(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


async def ship(directory: Path, first: int, last: int, ask: bool, room: int) -> None:
    async with Kernel.from_file(directory / "ship.json", journal=directory / "journal", max_reports=room) as kernel:
        print("up", flush=True)
        for number in range(first, last):
            report = describe(f"failure {number}", {"tags": {"number": number}})
            kind = EventType.ERROR if room > last or number % 5 == 0 else EventType.INFO
            await kernel.report(kind, f"p{number % PROCESSES}", report)
        asking = asyncio.create_task(kernel.ask("may I go on?", process="helm")) if ask else None
        print("reported", flush=True)
        if asking:
            print("went on" if await asking is Action.CONTINUE else "was told to end", flush=True)
        await asyncio.sleep(3600)


@contextlib.contextmanager
def at_sea(directory: Path, *, by_cable: bool) -> Iterator[tuple[Product, Ship, Cable | None]]:
    """A running product and a node, with a cable between them or without."""
    with contextlib.ExitStack() as ends:
        cable = ends.enter_context(Cable()) if by_cable else None
        settings = {"STEWARD_NATS_HOST": cable.host} if cable else {}
        product = Product(directory / "data", settings=settings).start()
        ends.callback(product.stop)
        there = Ship(directory, product.add_node(NODE), cable)
        yield product, there, cable


def stored(product: Product, token: str) -> list[dict[str, Any]]:
    """Everything that the product has stored, in its order."""
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        status, page = product.call(f"/api/v1/events?after={after}&limit=1000", token)
        assert status == 200, page
        found += page["items"]
        after = page["next"]
    return found


def play(directory: Path, *, events: int, outage_s: float, by_cable: bool) -> dict[str, float]:
    """The whole story; fails where something is lost, doubled, out of order, or not answered. Returns what it took."""
    with at_sea(directory, by_cable=by_cable) as (product, far, cable):
        token = product.token()
        third = events // 3
        far.sail(0, third)
        far.says("up")
        wait_for(lambda: product.call("/api/v1/nodes", token)[1]["items"][0]["heartbeat_at"])
        far.says("reported")
        began = time.monotonic()
        cable.cut() if cable else product.stop()
        far.kill()
        far.sail(third, 2 * third)
        far.says("up")
        far.says("reported")
        far.kill()
        far.sail(2 * third, events, "ask")
        far.says("up")
        far.says("reported")
        time.sleep(max(0.0, outage_s - (time.monotonic() - began)))
        cable.mend() if cable else product.start()
        healed = time.monotonic()
        question = wait_for(lambda: next(iter(open_questions(product, token)), None))
        wait_for(lambda: len(stored(product, token)) >= events + 1)
        all_stored = time.monotonic()
        status, body = product.call(f"/api/v1/incidents/{question['id']}/decision", token, {"action": "continue"})
        assert status == 200, body
        far.says("went on")
        went_on = time.monotonic()
        wait_for(lambda: product.call("/api/v1/incidents?state=applied", token)[1]["items"])
        check(stored(product, token), events)
        far.kill()
        return {"away_s": healed - began, "all_stored_s": all_stored - healed, "answer_s": went_on - all_stored}


def check(found: list[dict[str, Any]], events: int) -> None:
    """Each event once, and those of a process in the order in which they were made."""
    reported = [one for one in found if one["type"] == "error"]
    for process in range(PROCESSES):
        order = [int(one["text"].split()[1]) for one in reported if one["process"] == f"p{process}"]
        assert order == list(range(process, events, PROCESSES)), f"p{process}: {len(order)} events, or not in order"
    assert len(found) == events + 1


def open_questions(product: Product, token: str) -> list[dict[str, Any]]:
    return list(product.call("/api/v1/incidents?state=open", token)[1]["items"])


def main() -> None:
    if sys.argv[1] == "ship":
        directory, first, last = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
        more = sys.argv[5:]
        room = next((int(one) for one in more if one.isdigit()), 100_000)
        asyncio.run(ship(directory, first, last, "ask" in more, room))
        return
    minutes, events = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    with tempfile.TemporaryDirectory() as directory:
        took = play(Path(directory), events=events, outage_s=minutes * 60, by_cable=Cable.possible)
        how = "cut in a network namespace" if Cable.possible else "with the product stopped"
        print(f"{events} events and a question, link {how}: " + ", ".join(f"{k} {v:.1f}" for k, v in took.items()))


if __name__ == "__main__":
    main()
