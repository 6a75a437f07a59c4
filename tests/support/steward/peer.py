"""Nodes of Steward and ctrl for tests, over a real NATS connection: what they send, repeat, answer and break at.

Written from what is known of their protocol. A node speaks as its version does, waits for acknowledgements on the
subject that it shares with all others, repeats as often as its version, and ends where its version would.
"""

import asyncio
import contextlib
import json
import random
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import nats
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from nats.aio.client import Client
from nats.aio.msg import Msg

from errorkernel.broker.embedded import find_binary
from errorkernel.protocol.errors import ProtocolError
from errorkernel.senders.steward.protocol import envelope as steward_envelope
from errorkernel.senders.steward.protocol import message as steward_message
from errorkernel.senders.steward.protocol.envelope import Compression, Format
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.methods import canonical
from tests.support.waiting import PATIENCE_S, wait_for


@dataclass(frozen=True, slots=True)
class Version:
    """What differs between the versions. ``more_attempts``: transmissions beyond ``Retries``."""

    name: str
    layout: str
    format: Format
    compression: Compression = Compression.NONE
    declared: bool = True
    token: bool = True
    req: bool = True
    numbered: bool = True
    one_at_a_time: bool = False
    more_attempts: int = 1
    commands: bool = False
    """Operators' messages have another token than events: until 27 January 2022."""

    @property
    def subject(self) -> str:
        """Where errors go."""
        return f"errorCentral.{self.method('errorLog')}{'.EventACK' if self.token else ''}"

    def method(self, name: str) -> str:
        return f"REQ{name[0].upper()}{name[1:]}" if self.req else name

    def listens(self, node: str, method: str) -> str:
        token = "CommandACK" if "OpProcess" in method and self.commands else "EventACK"
        return f"{node}.{method}{f'.{token}' if self.token else ''}"

    def pack(self, message: StewardMessage) -> tuple[bytes, dict[str, str] | None]:
        payload = steward_envelope.pack(steward_message.encode(message, self.format, self.layout), self.compression)
        headers = {"fromNode": message.from_node} if self.declared or not self.token else {}
        if self.declared:
            compression = "none" if self.compression is Compression.NONE else self.compression.value
            headers |= {"serial": self.format.value, "cmp": compression}
        elif self.token and self.format is Format.CBOR:
            headers |= {"serial": "cbor"}
        return payload, headers or None


SEED = Version(
    "steward, February 2022", "A26", Format.GOB, declared=False, numbered=False, one_at_a_time=True, more_attempts=0
)
STEW = Version("steward, 2023", "A23", Format.GOB)
CTRL_2023 = Version("ctrl, 2023", "A23", Format.CBOR, Compression.ZSTD, token=False)
CTRL_2024 = Version("ctrl, end of 2024", "B24", Format.CBOR, Compression.ZSTD, declared=False, token=False, req=False)
CTRL = Version("ctrl, 2025", "B27", Format.CBOR, Compression.ZSTD, declared=False, token=False, req=False)
VERSIONS = [
    SEED,
    replace(SEED, name="steward, January 2022", layout="A25", commands=True),
    replace(SEED, name="steward, end of January 2022", layout="A25"),
    replace(SEED, name="steward, February 2022, cbor", format=Format.CBOR),
    *(replace(STEW, name=f"steward, June 2022, {layout}", layout=layout) for layout in ("A20", "A21", "A22")),
    STEW,
    replace(STEW, name="steward, 2023, cbor and zstd", format=Format.CBOR, compression=Compression.ZSTD),
    replace(STEW, name="steward, 2023, gzip", compression=Compression.GZIP),
    CTRL_2023,
    replace(CTRL_2023, name="ctrl, 2023, gob", format=Format.GOB),
    CTRL_2024,
    replace(CTRL_2024, name="ctrl, beginning of 2025", layout="B25"),
    CTRL,
]


class PlainServer:
    """A nats-server that lets everybody in, on a free port of this machine alone."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._more = options
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> "PlainServer":
        options = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", str(self._directory), *self._more]
        self._process = subprocess.Popen([find_binary(""), *options], stderr=subprocess.DEVNULL)
        self.url = wait_for(self._url)
        return self

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(PATIENCE_S)

    def _url(self) -> str:
        for path in self._directory.glob("nats-server_*.ports"):
            with contextlib.suppress(ValueError):
                return str(json.loads(path.read_text())["nats"][0])
        return ""


@dataclass(slots=True)
class Sent:
    """What became of a message: how often it went out, and whether something came on the reply subject."""

    attempts: int = 0
    acknowledged: bool = False
    no_responders: int = 0


@dataclass(slots=True)
class StewardPeer:
    """``deaf``: its permissions do not let it see acknowledgements. ``key``: it checks operators' signatures.

    ``crashed`` says at what the node ended; it has left the broker then. Intervals are in tenths of what nodes take.
    """

    url: str
    node: str
    version: Version
    ack_timeout: int = 1
    retries: int = 2
    deaf: bool = False
    key: bytes = b""
    seed: str | None = None
    aliases: tuple[str, ...] = ()
    """Other names under which a ctrl node runs the same processes; a stop and a start do not reach those."""
    processes: set[str] = field(default_factory=lambda: {"httpGet", "cliCommand", "fileAppend"})
    fates: list[str] = field(default_factory=list)
    """What goes wrong with the operators' messages, in their order: ``deaf`` (it never came), ``no reply``, ``late``
    (after three seconds), ``twice``, ``garbled``, ``gone`` (it ends instead); empty: nothing."""
    operations: list[str] = field(default_factory=list)
    """What it has done for operators, in order."""
    doubled: bool = False
    """A process was started while it ran."""
    crashed: str = ""
    _number: int = 0
    _highest: int = 0
    _numbers: dict[str, int] = field(default_factory=dict)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _client: Client | None = None
    _tasks: set[asyncio.Task[object]] = field(default_factory=set)

    async def start(self) -> "StewardPeer":
        self._client = await nats.connect(self.url, nkeys_seed_str=self.seed)
        for name, answer in (
            ("opProcessList", self._list),
            ("opProcessStop", self._stop),
            ("opProcessStart", self._start),
        ):
            subject = self.version.listens(self.node, self.version.method(name))

            async def received(message: Msg, answer=answer) -> None:
                await self._operator(message, answer)

            await self.client.subscribe(subject, cb=received)
        await self.client.flush()
        return self

    @property
    def client(self) -> Client:
        assert self._client
        return self._client

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    # Signs of life

    async def hello(self, central: str = "central") -> Sent:
        """Say hello once; whether the version waits for an acknowledgement is not looked at by others."""
        subject = f"{central}.{self.version.method('hello')}{'.EventNACK' if self.version.token else ''}"
        message = StewardMessage(
            to_node=central,
            data=bytes(32),
            method=self.version.method("hello"),
            from_node=self.node,
            ack_timeout=self.ack_timeout,
            retries=0,
            directory="hello-messages",
            file_name="hello.log",
        )
        return await self.send(subject, message)

    # Errors

    def error_message(self, text: str, at: datetime | None = None) -> StewardMessage:
        """An error as this node makes it; its number is taken."""
        self._number += 1
        clock = (at or datetime.now(UTC)).strftime("%a %b %e %H:%M:%S %Y")
        return StewardMessage(
            to_node="errorCentral",
            id=self._number if self.version.numbered else 0,
            data=f"{clock}, node: {self.node}, {text}\n".encode(),
            method=self.version.method("errorLog"),
            arg_signature=b"" if self.version.layout == "A25" else bytes(64),
            from_node=self.node,
            ack_timeout=self.ack_timeout,
            retries=self.retries,
            method_timeout=10,
            directory="errorLog",
            file_name="error.log",
        )

    async def error(self, text: str, at: datetime | None = None) -> Sent:
        """Report, and repeat until acknowledged or given up, as the version does."""
        return await self.send(self.version.subject, self.error_message(text, at))

    async def send(self, subject: str, message: StewardMessage) -> Sent:
        payload, headers = self.version.pack(message)
        if not self.version.one_at_a_time:
            return await self._send(subject, payload, headers, message)
        async with self._one:
            return await self._send(subject, payload, headers, message)

    async def send_bytes(self, payload: bytes, headers: dict[str, str] | None = None) -> None:
        """Anything, to where errors go."""
        await self.client.publish(self.version.subject, payload, self.version.subject + ".reply", headers)
        await self.client.flush()

    async def _send(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, message: StewardMessage
    ) -> Sent:
        sent = Sent()
        for _ in range(message.retries + self.version.more_attempts):
            waiting = None if self.deaf else await self.client.subscribe(subject + ".reply")
            await self.client.publish(subject, payload, subject + ".reply", headers)
            await self.client.flush()
            sent.attempts += 1
            if waiting is None:
                await asyncio.sleep(message.ack_timeout / 10)
                continue
            try:
                found = await waiting.next_msg(message.ack_timeout / 10)
            except nats.errors.TimeoutError:
                continue
            finally:
                await waiting.unsubscribe()
            if (found.headers or {}).get("Status") == "503":
                sent.no_responders += 1
                continue
            sent.acknowledged = True
            break
        return sent

    def _later(self, text: str) -> None:
        task: asyncio.Task[object] = asyncio.create_task(self.error(text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Operators' messages

    async def _operator(self, message: Msg, answer) -> None:
        try:
            request = self._decoded(message)
        except ProtocolError as exc:
            if not self.version.token:
                await self._crash(f"cannot decode: {exc}")
            else:
                self._later(f"error: gob decoding failed, subject: {message.subject}, header: map[], error: {exc}")
            return
        fate = self.fates.pop(0) if self.fates else ""
        if fate == "deaf":
            return
        if fate == "gone":
            await self._crash("somebody has ended it")
            return
        if message.reply and (message.subject.endswith(("EventACK", "CommandACK")) or request.ack_timeout >= 1):
            await self.client.publish(message.reply)
        if self.key and not self._signed(request):
            self._later("error: subscriberHandler: ACL or Signature were verified not-OK, doing nothing")
            return
        try:
            output = answer(request)
        except IndexError:
            await self._crash("index out of range")
            return
        self.operations.append(canonical(request.method).removeprefix("opProcess").lower())
        if output is None or fate == "no reply":
            return
        if fate == "late":
            await asyncio.sleep(3)
        for _ in range(2 if fate == "twice" else 1):
            await self._reply(request, "a\x00b\xff" if fate == "garbled" else output)

    def _decoded(self, message: Msg) -> StewardMessage:
        """As strict as the version: its own number of elements, and ctrl nothing but zstd with CBOR, or JSON."""
        headers = message.headers or {}
        envelope = steward_envelope.unpack(message.data, headers)
        decoded = steward_message.decode(envelope.body, envelope.format)
        if envelope.format is Format.CBOR and decoded.layout != self.version.layout:
            raise ProtocolError("elements", "cannot decode CBOR array to struct with different number of elements")
        if not self.version.token and not self.version.declared:
            ours = envelope.format is Format.CBOR and envelope.compression is Compression.ZSTD
            if not ours and not (envelope.format is Format.JSON and self.version.layout == "B27"):
                raise ProtocolError("format", "neither zstd nor JSON")
        return decoded.message

    def _signed(self, request: StewardMessage) -> bool:
        try:
            VerifyKey(self.key).verify(" ".join(request.method_args).encode(), request.arg_signature)
        except (BadSignatureError, ValueError):
            return False
        return True

    def _name(self, process: str) -> str:
        return self.version.listens(self.node, self.version.method(process))

    def _list(self, request: StewardMessage) -> str:
        clock = datetime.now(UTC).strftime("%a %b %e %H:%M:%S %Y")
        kind = "process: subscriber, " if self.version.token else ""
        names = random.sample(sorted(self.processes), len(self.processes))
        for name in names:
            if name not in self._numbers:
                self._highest += 1
                self._numbers[name] = self._highest
        own = [f"{clock}, {kind}id: {self._numbers[one]}, name: {self._name(one)}\n" for one in names]
        others = [
            f"{clock}, {kind}id: {100 + number}, name: {self.version.listens(alias, self.version.method('httpGet'))}\n"
            for number, alias in enumerate(self.aliases)
        ]
        return "".join([*own, *others])

    def _stop(self, request: StewardMessage) -> str:
        method, _, *kind = request.method_args
        if self.version.token and not kind:
            raise IndexError
        shown = f"{{{self.node} EventACK {method} 0xc0003083c0}}" if self.version.token else f"{{{self.node} {method}}}"
        if canonical(method) not in self.processes:
            text = f"error: OpProcessStop: did not find process to stop: {shown} on {self.node}"
        else:
            self.processes.discard(canonical(method))
            text = f"info: OpProcessStop: process stopped id: 15, method: {shown} on: {self.node}"
            if self.version.numbered:
                self._later(
                    "error: methodREQOpStopProcess failed to stop nats.Subscription: nats: invalid subscription, "
                    f"methodArgs: [{' '.join(request.method_args)}]"
                )
        self._later(text)
        return text

    def _start(self, request: StewardMessage) -> str | None:
        method = request.method_args[0]
        if canonical(method) == "nope":
            artefact = "%!v(MISSING)" if self.version.token else ""
            self._later(f"error: OpProcessStart: no such request type defined: {artefact}{method}")
            return None
        self.doubled |= canonical(method) in self.processes
        self.processes.add(canonical(method))
        self._highest += 1
        self._numbers[canonical(method)] = self._highest
        shown = f"{{{self.node} EventACK {method} 0xc0000801e0}}" if self.version.token else f"{{{self.node} {method}}}"
        text = f"info: OpProcessStart: started id: 23, subject: {shown}: node: {self.node}"
        self._later(text)
        return text

    async def _reply(self, request: StewardMessage, output: str) -> None:
        known = request.reply_method in ("REQToFileAppend", "REQToFile", "REQPong", "fileAppend", "file", "console")
        if not known and self.version.one_at_a_time:
            await self._crash("unknown reply method")
            return
        if not known:
            self._later(
                f"error: routeMessagesToProcess: the method do not exist, message dropped: {request.reply_method}"
            )
            return
        reply = StewardMessage(
            to_node=request.from_node,
            data=output.encode(),
            method=request.reply_method,
            method_args=request.reply_method_args,
            is_reply=True,
            from_node=self.node,
            ack_timeout=request.reply_ack_timeout,
            retries=request.reply_retries,
            method_timeout=request.reply_method_timeout,
            previous_message=msgspec.structs.replace(request, data=b"", previous_message=None),
        )
        task: asyncio.Task[object] = asyncio.create_task(
            self.send(self.version.listens(request.from_node, request.reply_method), reply)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _crash(self, why: str) -> None:
        self.crashed = why
        task: asyncio.Task[object] = asyncio.create_task(self.client.close())
        self._tasks.add(task)
