"""Nodes are away while their questions are answered: what becomes of the answers, and how soon after they are back.

``tests/e2e/test_outage.py`` plays it in seconds; ``python -m tests.support.away MINUTES`` in real time, and prints how
long that was.
Three programs of two nodes ask; then their link is cut, as by a cable that is pulled. One waits on, a node of its own;
the two of the other are killed and started again: one of these had been answered meanwhile, the other had not.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from errorkernel.domain.values import Message
from errorkernel.node import Action, Kernel
from errorkernel.ops.chaos.proxy import Mode, Proxy, Switchboard
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

WAITS, ANSWERED, UNANSWERED = "helm", "engine", "rudder"
NODE_OF = {WAITS: "ship", ANSWERED: "tug", UNANSWERED: "tug"}
END_S = PATIENCE_S


async def program(directory: Path, process: str, ask: bool) -> None:
    """Says what happens to it, each with the time by the clock that all programs of the machine share."""

    def say(what: str) -> None:
        print(what, time.monotonic(), flush=True)

    async def watch() -> None:
        while True:
            while kernel.connected:
                await asyncio.sleep(0.005)
            while not kernel.connected:
                await asyncio.sleep(0.005)
            say("back")

    def take(message: Message) -> None:
        say(f"took-{message.id}")

    node = NODE_OF[process]
    async with Kernel.from_file(directory / f"{node}.json", journal=directory / f"{node}.journal") as kernel:
        kernel.on_requeue(process, take)
        await kernel.info("up", process=process)
        say("up")
        watching = asyncio.create_task(watch())
        if ask:
            message = {"id": process, "method": "REQCopySrc", "data": "/data/a.tif"}
            answer = await kernel.ask("may I go on?", process=process, message=message)
            say("went-on" if answer is Action.CONTINUE else "was-told-to-end")
        await watching


class Program:
    """One of them, and what it has said."""

    def __init__(self, directory: Path, process: str, *, ask: bool) -> None:
        self._said = directory / f"{process}.said"
        argv = [sys.executable, "-m", "tests.support.away", "program", str(directory), process, "ask" if ask else ""]
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(argv, cwd=ROOT, stdout=said)

    def heard(self, what: str) -> list[float]:
        """When it said this."""
        lines = [line.split() for line in self._said.read_text().splitlines()]
        return [float(line[1]) for line in lines if len(line) == 2 and line[0] == what]

    def says(self, what: str) -> float:
        return float(wait_for(lambda: self.heard(what), END_S)[-1])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def linked(product: Product, directory: Path) -> Iterator[Proxy]:
    """The nodes' credentials are in ``directory``, and lead through this link."""
    board = Switchboard()
    link = Proxy("cable", lambda: urlsplit(product.nats_url).port or 0, board.loop, 1)
    link.start()
    for name in sorted(set(NODE_OF.values())):
        given = {**product.add_node(name), "nats_url": f"nats://127.0.0.1:{link.port}"}
        (directory / f"{name}.json").write_text(json.dumps(given))
    try:
        yield link
    finally:
        board.close()


def play(directory: Path, *, outage_s: float) -> float:
    """The whole story; returns how many seconds after the node was back the answer had been obeyed."""
    with contextlib.ExitStack() as ends:
        product = Product(directory / "data").start()
        ends.callback(product.stop)
        token = product.token()
        link = ends.enter_context(linked(product, directory))
        programs: list[Program] = []
        ends.callback(lambda: [one.kill() for one in programs])
        programs += [Program(directory, one, ask=True) for one in (WAITS, ANSWERED, UNANSWERED)]
        asked = {one: wait_for(lambda one=one: _question(product, token, one), END_S) for one in NODE_OF}
        link.begin(Mode.CUT)
        wait_for(lambda: link.on(Mode.CUT))
        began = time.monotonic()
        for one in (WAITS, ANSWERED):
            path = f"/api/v1/incidents/{asked[one]['id']}/decision"
            assert product.call(path, token, {"action": "continue"})[0] == 200
        for one in programs[1:]:
            one.kill()
        programs[1:] = [Program(directory, one, ask=False) for one in (ANSWERED, UNANSWERED)]
        wait_for(lambda: all(len(one.heard("up")) == 2 for one in programs[1:]), END_S)
        time.sleep(max(0.0, outage_s - (time.monotonic() - began)))
        assert not programs[0].heard("went-on")
        mended = time.monotonic()
        link.end(Mode.CUT)
        went_on = programs[0].says("went-on")
        back = max([mended, *(at for at in programs[0].heard("back") if at <= went_on)])
        _becomes(product, token, WAITS, "applied")
        for program, state in zip(programs[1:], ("stale", "withdrawn"), strict=True):
            _is_sent_again(product, token, program, state)
        return went_on - back


def _is_sent_again(product: Product, token: str, program: Program, state: str) -> None:
    """Its question has ended in this state, the message is still there, and reaches the program that runs now."""
    process = ANSWERED if state == "stale" else UNANSWERED
    ended = _becomes(product, token, process, state)
    assert ended["message"] == {"id": process, "method": "REQCopySrc", "data": "/data/a.tif"}
    assert ended["incarnation"] == 1
    path = f"/api/v1/incidents/{ended['id']}/requeue"
    status, said = product.call(path, token, {"reason": "it was not done", "request_id": "1"})
    assert status == 200, said
    program.says(f"took-{process}")
    again = {"reason": "it was not done", "request_id": "1"}
    wait_for(lambda: product.call(path, token, again)[1]["state"] == "applied", END_S)
    assert len(program.heard(f"took-{process}")) == 1


def _question(product: Product, token: str, process: str) -> dict[str, Any] | None:
    found = product.call("/api/v1/incidents?limit=100", token)[1]["items"]
    return next((one for one in found if one["process"] == process), None)


def _becomes(product: Product, token: str, process: str, state: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found = _question(product, token, process)
        return found if found and found["state"] == state else None

    found: dict[str, Any] = wait_for(there, END_S)
    return found


def main() -> None:
    if sys.argv[1] == "program":
        asyncio.run(program(Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "ask"))
        return
    with tempfile.TemporaryDirectory() as directory:
        took_s = play(Path(directory), outage_s=float(sys.argv[1]) * 60)
        print(f"away for {sys.argv[1]} min; {took_s * 1000:.0f} ms after it was back the answer had been obeyed")


if __name__ == "__main__":
    main()
