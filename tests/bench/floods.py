"""What floods from one side cost the others: a node's POST and ``/health/live``, calm and under each flood, in one run.

``python -m tests.bench.floods [WAITS] [LOGINS]``. The floods: so many waits of one node for decisions, and so many
parallel logins of nobody. Everything shares this machine.
"""

import asyncio
import itertools
import json
import sys
import tempfile
import time
import urllib.parse
import uuid
from collections import Counter
from pathlib import Path

from tests.support.product import Product

PERIOD_S = 8.0
PAUSE_S = 0.05


class Server:
    def __init__(self, url: str) -> None:
        self.host, _, port = url.removeprefix("http://").partition(":")
        self.port = int(port)

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> int:
        """The status, 0 where none came; one connection a request."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        given = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body))} | headers
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        try:
            line = await reader.readline()
            await reader.read()
            return int(line.split()[1]) if line else 0
        except OSError:
            return 0
        finally:
            writer.close()


def event(kind: str) -> tuple[str, bytes]:
    event_id = str(uuid.uuid4())
    fields = {"v": 1, "id": event_id, "type": kind, "process": "copy", "error": {"text": "no such file"}}
    return event_id, json.dumps(fields).encode()


async def times_of(server: Server, token: str) -> tuple[list[float], list[float]]:
    """(seconds of each POST of another node, seconds of each ``/health/live``) for a while."""
    posts: list[float] = []
    probes: list[float] = []

    async def post() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            assert await server.ask("POST", "/api/v1/events", event("error")[1], Authorization=f"Bearer {token}") == 202
            posts.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE_S)

    async def probe() -> None:
        while time.monotonic() < until:
            began = time.monotonic()
            assert await server.ask("GET", "/health/live") == 200
            probes.append(time.monotonic() - began)
            await asyncio.sleep(PAUSE_S)

    until = time.monotonic() + PERIOD_S
    await asyncio.gather(post(), probe())
    return posts, probes


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def line(name: str, times: tuple[list[float], list[float]], used_s: float, statuses: Counter[int]) -> None:
    shown = []
    for each in times:
        each.sort()
        shown += [each[len(each) // 2] * 1e3, each[int(len(each) * 0.99)] * 1e3, each[-1] * 1e3]
    numbers = " ".join(f"{number:9.1f}" for number in shown)
    print(f"{name:18} {numbers} {used_s / PERIOD_S:7.0%}  {dict(statuses) or ''}", flush=True)


async def measure(product: Product, waits: int, logins: int) -> None:
    server = Server(product.http_url)
    calm, busy = product.add_node("calm")["token"], product.add_node("busy")["token"]
    incident, body = event("action")
    assert await server.ask("POST", "/api/v1/events", body, Authorization=f"Bearer {busy}") == 202
    print(
        f"{'':18} {'POST p50':>9} {'p99':>9} {'max ms':>9} {'live p50':>9} {'p99':>9} {'max ms':>9} {'CPU':>7}  answers"
    )

    async def under(name: str, flood: list[asyncio.Task[None]], statuses: Counter[int]) -> None:
        await asyncio.sleep(0.5)
        before = cpu_s(product.pid)
        line(name, await times_of(server, calm), cpu_s(product.pid) - before, statuses)
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)

    async def wait(statuses: Counter[int]) -> None:
        while True:
            path = f"/api/v1/incidents/{incident}/decision?wait=60"
            statuses[await server.ask("GET", path, Authorization=f"Bearer {busy}")] += 1
            await asyncio.sleep(5)  # what Retry-After says

    async def log_in(statuses: Counter[int]) -> None:
        token = "x" * 32
        form = urllib.parse.urlencode({"username": "nobody", "password": "x", "csrfmiddlewaretoken": token}).encode()
        kind = "application/x-www-form-urlencoded"
        for _ in itertools.count():
            status = await server.ask("POST", "/login/", form, Cookie=f"csrftoken={token}", Content_Type=kind)
            statuses[status] += 1

    nothing: Counter[int] = Counter()
    await under("calm", [], nothing)
    waiting: Counter[int] = Counter()
    await under(f"{waits} waits", [asyncio.create_task(wait(waiting)) for _ in range(waits)], waiting)
    await under("calm again", [], nothing)
    refused: Counter[int] = Counter()
    await under(f"{logins} logins", [asyncio.create_task(log_in(refused)) for _ in range(logins)], refused)


def main() -> None:
    waits, logins = (*map(int, sys.argv[1:]), *(1000, 120)[len(sys.argv) - 1 :])
    product = Product(Path(tempfile.mkdtemp()) / "data", new=True).start()  # with its real password hashing
    try:
        asyncio.run(measure(product, waits, logins))
    finally:
        product.stop()


if __name__ == "__main__":
    main()
