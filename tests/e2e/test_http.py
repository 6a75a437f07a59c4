"""HTTP as somebody meets it who has the documents and no Python of ours: every example, and the bare protocol."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.protocol import json_codec as wire
from tests.support.paths import ROOT
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = (ROOT / "docs" / "http.md").read_text().split("\n## Examples\n")[1]
SCRIPTS = [code for language, code in BLOCK.findall(EXAMPLES) if language == "sh"]
PROGRAMS = [code for language, code in BLOCK.findall(EXAMPLES) if language == "python"]
ASK = SCRIPTS[-1]


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(tmp_path_factory.mktemp("http") / "data").start()
    yield running
    running.stop()


class Peer:
    """A node and an operator."""

    def __init__(self, product: Product, name: str) -> None:
        self.product = product
        self.name = name
        self.token = product.add_node(name)["token"]
        self.operator = product.token()

    @property
    def env(self) -> dict[str, str]:
        return os.environ | {"STEWARD_URL": self.product.http_url, "NODE_TOKEN": self.token}

    def get(self, what: str) -> list[dict[str, Any]]:
        status, told = self.product.call(f"/api/v1/{what}", self.operator)
        assert status == 200, told
        return list(told["items"])

    def texts(self) -> list[str]:
        return [one["text"] for one in self.get(f"events?q=node:{self.name}")]

    def incidents(self, state: str = "") -> list[dict[str, Any]]:
        return self.get(f"incidents?node={self.name}" + (f"&state={state}" if state else ""))

    def open_one(self) -> dict[str, Any]:
        return dict(wait_for(lambda: self.incidents("open"))[0])

    def decide(self, incident: str, action: str) -> None:
        body = {"action": action, "reason": 'say "action":"stop" \\ to nobody'}
        assert self.product.call(f"/api/v1/incidents/{incident}/decision", self.operator, body)[0] == 200

    def ended(self, incident: str, state: str = "applied") -> dict[str, Any]:
        return dict(
            wait_for(lambda: [one for one in self.incidents(state) if one["id"] == incident])[0]
        )  # fmt: skip


@pytest.fixture
def peer(product: Product, request: pytest.FixtureRequest) -> Peer:
    return Peer(product, f"n{uuid7().hex[-12:]}")


# The examples of docs/http.md


@pytest.mark.parametrize(
    ("script", "texts"),
    [
        (SCRIPTS[0], ["/data/a.tif: no such file"]),
        (SCRIPTS[1], ["copied 118 files", "2 files were skipped"]),
        (SCRIPTS[2], ["disk is slow", "disk is full"]),
    ],
)
def test_what_is_written_for_the_shell_works_as_it_stands(peer: Peer, script: str, texts: list[str]) -> None:
    done = subprocess.run(["sh", "-e"], input=script, env=peer.env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (len(told["accepted"]), told["rejected"]) == (len(texts), [])
    assert wait_for(lambda: len(found := peer.texts()) == len(texts) and found) == texts


def test_what_is_written_for_python_works_as_it_stands(peer: Peer) -> None:
    assert len(PROGRAMS) == 1
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAMS[0]], env=peer.env, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert wait_for(peer.texts) == ["/data/b.tif: no such file"]


class Ask:
    """``ask.sh`` around a command that fails as long as there is a file, and writes down each run."""

    def __init__(self, peer: Peer, directory: Path) -> None:
        self.failing, self.runs = directory / "failing", directory / "runs"
        self.failing.touch()
        script = directory / "ask.sh"
        script.write_text(ASK)
        command = f'echo run >>{self.runs}; [ ! -e {self.failing} ] || exit 3; echo "well"'
        self._started = subprocess.Popen(
            ["sh", str(script), 'copy "all"\n\\files', "sh", "-c", command],
            env=peer.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self) -> tuple[int, str, int]:
        """(exit status, output, how often the command ran)."""
        out, err = self._started.communicate(timeout=PATIENCE_S)
        print(err.decode())
        return self._started.returncode, out.decode(), self.runs.read_text().count("run")

    def kill(self) -> None:
        self._started.kill()
        self._started.communicate()


@pytest.fixture
def asked(peer: Peer, tmp_path: Path) -> Iterator[Ask]:
    started = Ask(peer, tmp_path)
    yield started
    started.kill()


def test_ask_runs_the_command_again_when_it_is_told_to_kill_and_says_so(peer: Peer, asked: Ask) -> None:
    first = peer.open_one()
    assert first["process"] == 'copy "all" \\files'
    assert "ended with status 3" in first["text"]
    peer.decide(first["id"], "kill")
    done = peer.ended(first["id"])
    assert (done["incarnation"], done["new_incarnation"]) == (1, 2)
    second = peer.open_one()
    assert second["incarnation"] == 2
    asked.failing.unlink()
    peer.decide(second["id"], "kill")
    assert asked.ended() == (0, "well\n", 3)
    assert peer.ended(second["id"])["new_incarnation"] == 3


@pytest.mark.parametrize(("action", "status"), [("continue", 0), ("stop", 3)])
def test_ask_lets_it_be_or_ends_as_it_is_told(peer: Peer, asked: Ask, action: str, status: int) -> None:
    incident = peer.open_one()
    peer.decide(incident["id"], action)
    assert asked.ended() == (status, "", 1)
    assert peer.ended(incident["id"])["decision"]["action"] == action


@pytest.mark.slow
def test_ask_outlasts_a_broker_that_stands_still_and_a_killed_installation(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    try:
        peer = Peer(product, "ship1")
        broker = int((product.directory / "nats" / "nats.pid").read_text())
        os.kill(broker, signal.SIGSTOP)
        try:
            asked = Ask(peer, tmp_path)
            wait_for(lambda: "request is put off, the broker is away" in product.log())  # it was told 503
        finally:
            os.kill(broker, signal.SIGCONT)
        incident = peer.open_one()
        assert len(peer.incidents()) == 1
        product.kill()  # in the middle of its long poll
        time.sleep(1)
        product.start()
        peer.decide(incident["id"], "continue")
        assert asked.ended() == (0, "", 1)
        assert peer.ended(incident["id"])
        assert len(peer.texts()) == 1
    finally:
        asked.kill()
        product.stop()


# The examples of the contract


def test_the_contracts_examples_go_through_the_wire_and_through_the_product(peer: Peer) -> None:
    payloads = (ROOT / "docs" / "protocol.md").read_text().split("\n## Payloads\n")[1].split("\n## ")[0]
    event, decision, outcome = [json.loads(code) for kind, code in BLOCK.findall(payloads) if kind == "json"][:3]
    limits = Limits()
    value = wire.decode_event(json.dumps(event).encode(), limits)
    assert wire.decode_event(wire.encode_event(value), limits) == value
    made = wire.decode_decision(json.dumps(decision).encode())
    assert wire.decode_decision(wire.encode_decision(made)) == made
    done = wire.decode_outcome(json.dumps(outcome).encode(), limits)
    assert wire.decode_outcome(wire.encode_outcome(done), limits) == done

    incident, call = event["id"], peer.product.call
    assert call("/api/v1/events", peer.token, event) == (202, {"accepted": [incident], "rejected": []})
    stored = peer.open_one()
    told = {name: stored[name] for name in ("level", "process", "incarnation", "message")}
    assert told == {name: event[name] for name in told}
    body = {"action": decision["action"], "reason": decision["reason"], "request_id": "r1"}
    first = call(f"/api/v1/incidents/{incident}/decision", peer.operator, body)
    assert first[0] == 200
    assert call(f"/api/v1/incidents/{incident}/decision", peer.operator, body) == first
    assert call(f"/api/v1/incidents/{incident}/decision", peer.operator, {"action": "continue"})[0] == 409
    status, told = call(f"/api/v1/incidents/{incident}/decision?wait=30", peer.token)
    assert status == 200
    assert set(told) == set(decision)
    assert told == told | {name: decision[name] for name in ("v", "incident", "action", "reason", "incarnation")}
    told_back = outcome | {"decision_id": told["decision_id"]}
    assert call(f"/api/v1/incidents/{incident}/outcome", peer.token, told_back) == (202, {"accepted": [incident]})
    assert peer.ended(incident)["new_incarnation"] == 8


# The bare protocol

GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def raw(product: Product, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the last answer on a connection of its own, which the server must end."""
    with socket.create_connection(("127.0.0.1", int(product.http_url.rsplit(":", 1)[1])), timeout=20) as connection:
        connection.sendall(sent)
        got = b""
        while part := connection.recv(65536):
            got += part
    told_to_go_on, got = got.startswith(GO_ON), got.removeprefix(GO_ON)
    head, _, body = got.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
    return int(first.split()[1]), headers | ({"told to go on": "yes"} if told_to_go_on else {}), body


def event(**more: Any) -> dict[str, Any]:
    return {"v": 1, "id": str(uuid7()), "type": "error", "process": "p", "error": {"text": "no such file"}} | more


def post(token: str, body: bytes, *headers: str, version: str = "1.1", host: str = "localhost") -> bytes:
    lines = [f"POST /api/v1/events HTTP/{version}", f"Host: {host}", "Connection: close",
             f"Authorization: Bearer {token}", *headers]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode() + body


def test_every_way_to_send_a_body_is_understood(product: Product, peer: Peer) -> None:
    one = json.dumps(event()).encode()
    length, chunk = f"Content-Length: {len(one)}", b"%x\r\n%s\r\n" % (len(one) // 2, one[: len(one) // 2])
    chunk += b"%x;ext=1\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(one) - len(one) // 2, one[len(one) // 2 :])
    for sent in (
        post(peer.token, one, length),
        post(peer.token, one, length, version="1.0"),
        post(peer.token, chunk, "Transfer-Encoding: chunked"),
        post(peer.token, one, length, "Expect: 100-continue"),
        post(peer.token, one, length, host="a.name.that.a.node.may.use"),  # nodes have no cookie that could be stolen
    ):
        status, headers, body = raw(product, sent)
        assert (status, headers["content-type"]) == (202, "application/json")
        assert json.loads(body)["accepted"] == [json.loads(one)["id"]]
    assert len(wait_for(peer.texts)) == 1  # the same event each time


def test_what_is_no_http_is_refused_without_harm(product: Product, peer: Peer) -> None:
    for sent in (b"GARBAGE\r\n\r\n", post(peer.token, b"zz\r\n", "Transfer-Encoding: chunked")):
        assert raw(product, sent)[0] == 400
    status, _, body = raw(product, post(peer.token, b""))
    assert (status, json.loads(body)["accepted"]) == (400, [])
    big = b" " * (Limits().body_compressed_bytes + 1)
    assert raw(product, post(peer.token, big, f"Content-Length: {len(big)}"))[0] == 413
    assert product.call("/api/v1/events", peer.token, event())[0] == 202


@pytest.mark.parametrize("path", ["/api/v1/events", "/login/"])
@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 99999999999\r\n\r\n",
        b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n",
        b"Content-Length: 99999999999\r\n\r\n" + b" " * 20_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % 99999999999 + b" " * 6_000_000,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n%s\r\n" % (b" " * 2**20) * 6,
    ],
    ids=["declared", "asked-for", "declared-and-sent", "one-chunk", "chunks"],
)
def test_a_body_that_is_too_large_is_refused_while_it_comes_whoever_sends_it(
    product: Product, path: str, sent: bytes
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
    status, headers, body = raw(product, head.encode() + sent)
    assert (status, headers["connection"], "told to go on" in headers) == (413, "close", False)
    assert json.loads(body)["error"]


def test_a_body_is_read_by_what_it_is_whatever_its_content_type_says(product: Product, peer: Peer) -> None:
    def send(kind: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        data = json.dumps(body).encode()
        head = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Type: {kind}",
                f"Authorization: Bearer {token}", f"Content-Length: {len(data)}", "", ""]  # fmt: skip
        status, headers, told = raw(product, "\r\n".join(head).encode() + data)
        assert headers["content-type"] == ("application/json" if status < 400 else "application/problem+json")
        return status, json.loads(told)

    for kind in ("multipart/form-data", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "x"):
        question = event(type="action")
        assert send(kind, "/api/v1/events", "unknown", question)[0] == 401
        assert send(kind, "/api/v1/events", peer.token, question)[0] == 202
        answered = f"/api/v1/incidents/{peer.open_one()['id']}/decision"
        assert send(kind, answered, "unknown", {"action": "stop"})[0] == 401
        assert send(kind, answered, peer.operator, {"action": "stop"})[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("HEAD", "/api/v1/events", 200, None),
        ("HEAD", "/api/v1/incidents/x/decision", 405, "GET, POST"),
        ("OPTIONS", "/api/v1/events", 405, "GET, HEAD, POST"),
        ("OPTIONS", "/api/v1/incidents/x/outcome", 405, "POST"),
        ("DELETE", "/api/v1/nodes", 405, "GET, HEAD"),
        ("GET", "/api/v1/events/", 404, None),
        ("GET", "/api/v1/%65vents", 200, None),
        ("GET", "/api/v1/ev%ff%00ents", 404, None),
        ("GET", "/api/v1/incidents/%ff%2f/decision", 404, None),
    ],
)
def test_other_methods_and_addresses_are_answered_in_json(
    product: Product, peer: Peer, method: str, path: str, status: int, allow: str | None
) -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {peer.operator}"
    found, headers, body = raw(product, head.encode() + b"\r\n\r\n")
    kind = "application/json" if status < 400 else "application/problem+json"
    assert (found, headers.get("allow"), headers["content-type"]) == (status, allow, kind)
    assert body == b"" if method == "HEAD" else json.loads(body)


@pytest.mark.parametrize("path", ["/ws/nope", "/ws/live/", "/", "/api/v1/events"])
def test_a_websocket_anywhere_else_is_refused_without_a_word_in_the_log(product: Product, path: str) -> None:
    before = len(product.log())
    lines = [f"GET {path} HTTP/1.1", f"Host: {product.http_url[7:]}", "Connection: Upgrade", "Upgrade: websocket",
             "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]  # fmt: skip
    assert raw(product, "\r\n".join(lines).encode())[0] == 403
    assert "Traceback" not in product.log()[before:]


def test_a_websocket_is_told_what_cannot_be_right_in_its_address(product: Product) -> None:
    cookie, address = {"Cookie": product.session()}, product.http_url.replace("http", "ws") + "/ws/live?"
    for query, why in {"after=abc": "after", "after=-1": "after", f"after={2**63}": "after", "q=(": "at 1"}.items():
        with connect(address + query, additional_headers=cookie) as socket, pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd
        assert (closed.value.rcvd.code, why in closed.value.rcvd.reason) == (4400, True), closed.value.rcvd
    for query in ("after=", f"after={2**63 - 1}", ""):
        with connect(address + query, additional_headers=cookie) as socket:
            assert json.loads(socket.recv(10))["snapshot"]


def test_a_host_that_is_not_ours_is_refused_in_json_too(product: Product, peer: Peer) -> None:
    head = f"GET /api/v1/nodes HTTP/1.1\r\nHost: evil\r\nConnection: close\r\nAuthorization: Bearer {peer.operator}"
    status, headers, body = raw(product, head.encode() + b"\r\n\r\n")
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert b'"error":' in body
    assert b"STEWARD_ALLOWED_HOSTS" in body
    for _ in range(3):
        status, headers, _body = raw(product, b"GET /nodes/ HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
        assert (status, headers["content-type"].split(";")[0]) == (400, "text/html")
    log = product.log()
    assert log.count("'evil'") == 1
    assert not re.search("Invalid HTTP_HOST|DisallowedHost", log)


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_probes_are_answered_whatever_they_call_us(product: Product, path: str) -> None:
    for host in ("10.1.2.3:8000", "steward.monitoring.svc", "[fd00::7]:8000", "a b"):
        sent = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        assert raw(product, sent.encode())[0] == 200


def test_an_id_that_is_in_a_batch_twice_is_accepted_twice_and_stored_once(product: Product, peer: Peer) -> None:
    one = event()
    status, told = product.call("/api/v1/events", peer.token, [one, event(), one])
    assert (status, told["accepted"].count(one["id"]), told["rejected"]) == (202, 2, [])
    wait_for(lambda: len(peer.texts()) == 2)


def test_a_thousand_events_are_one_request_and_one_more_is_too_many(product: Product, peer: Peer) -> None:
    status, told = product.call("/api/v1/events", peer.token, [event() for _ in range(1000)])
    assert (status, len(told["accepted"])) == (202, 1000)
    assert product.call("/api/v1/events", peer.token, [event() for _ in range(1001)])[0] == 413
    assert all(UUID(one) for one in told["accepted"])
