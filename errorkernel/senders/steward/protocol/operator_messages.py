"""Operators' messages to Steward/ctrl nodes and their replies: list, stop and start processes.

A stop and a start together replace a process. A node ends when a stop has too few arguments, so a stop always has
three. Processes that a start does not fully restore, or that are needed to manage the node, are never stopped
(``SAFE_METHODS``). An acknowledgement means that a message was received; its result is in the reply, a separate
message.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec
import nacl.signing

from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.layout import StewardMessage
from errorkernel.senders.steward.protocol.methods import SAFE_METHODS, canonical, spelled
from errorkernel.senders.steward.protocol.subjects import TOKENS

OPERATOR_NAME = "errorkernel"
"""The name of this sender: nodes reply to it and look up its key by it."""
SUBSCRIBER, PUBLISHER = "subscriber", "publisher"
SIGNING_SEED_BYTES = 32
PROCESSES_MAX = 10_000
_ACK_TIMEOUT_S = 5
_RETRIES = 2
_METHOD_TIMEOUT_S = 10
_LINE = re.compile(r"\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}, (?:process: (\w+), )?id: (\d{1,19}), name: (\S+)")


class Operator(msgspec.Struct, frozen=True):
    """The sender: its name, and the seed of its signing key (32 bytes) for nodes that check signatures."""

    name: str
    signing_seed: bytes = b""

    def sign(self, arguments: Sequence[str]) -> bytes:
        """ed25519 over the arguments with blanks between them; empty without a key.

        It covers neither method nor node nor time, so it can be reused for the same arguments.
        """
        if not self.signing_seed:
            return b""
        return nacl.signing.SigningKey(self.signing_seed).sign(" ".join(arguments).encode()).signature

    @property
    def public_key(self) -> bytes:
        """The public key (32 bytes); empty without a key."""
        return nacl.signing.SigningKey(self.signing_seed).verify_key.encode() if self.signing_seed else b""


class Listed(msgspec.Struct, frozen=True):
    """A line of a node's list. ``kind`` is empty from ctrl; ``number`` grows while the node runs."""

    name: str
    number: int
    kind: str = ""


def list_processes(operator: Operator, node: str, dialect: Dialect, correlation: str) -> StewardMessage:
    return _message(operator, node, dialect, "opProcessList", (), correlation)


def stop_process(operator: Operator, node: str, dialect: Dialect, method: str, correlation: str) -> StewardMessage:
    """Ends the subscriber of ``method``. Raises ValueError if a start would not restore it."""
    return _message(operator, node, dialect, "opProcessStop", (_safe(method), node, SUBSCRIBER), correlation)


def start_process(operator: Operator, node: str, dialect: Dialect, method: str, correlation: str) -> StewardMessage:
    """Starts a subscriber of ``method``. If it is running, it then runs twice, so list processes first."""
    return _message(operator, node, dialect, "opProcessStart", (_safe(method),), correlation)


def reply_correlation(message: StewardMessage) -> str:
    """The correlation of the request that ``message`` replies to; empty if it is no reply."""
    return message.method_args[0] if message.is_reply and message.method_args else ""


def parse_list(message: StewardMessage) -> tuple[Listed, ...]:
    """The processes in a reply to a list, at most PROCESSES_MAX; lines of another form are skipped."""
    listed = []
    for line in message.data.decode("utf-8", "replace").splitlines()[:PROCESSES_MAX]:
        if found := _LINE.fullmatch(line):
            listed.append(Listed(found[3], int(found[2]), found[1] or ""))
    return tuple(listed)


def subscriber_of(listed: Listed, node: str) -> str:
    """The method of a subscriber in the list of ``node``; empty for a publisher and anything else."""
    method = listed.name.removeprefix(f"{node}.")
    if method == listed.name or listed.kind not in ("", SUBSCRIBER):
        return ""
    bare, _, token = method.rpartition(".")
    return bare if token in TOKENS else method


def aliases_running(listed: Iterable[Listed], node: str, method: str) -> tuple[str, ...]:
    """Other names under which a ctrl node lists this method. A stop and a start reach the node's own name alone."""
    ending = f".{method}"
    names = (line.name for line in listed if not line.kind and line.name.endswith(ending))
    return tuple(sorted({name.removesuffix(ending) for name in names} - {node}))


def _safe(method: str) -> str:
    if method not in SAFE_METHODS:
        raise ValueError(f"{method!r} is not one of the methods that can be stopped and started again.")
    return method


def _message(
    operator: Operator, node: str, dialect: Dialect, method: str, arguments: tuple[str, ...], correlation: str
) -> StewardMessage:
    if not node:
        raise ValueError("A message needs a node.")
    req = dialect.req
    for process in arguments[:1]:
        if process.startswith("REQ") != req:
            known = spelled(canonical(process), req)
            raise ValueError(f"{process!r} is the other project's spelling; this node has {known!r}.")
    return StewardMessage(
        to_node=node,
        from_node=operator.name,
        method=f"REQ{method[0].upper()}{method[1:]}" if req else method,
        method_args=arguments,
        arg_signature=operator.sign(arguments),
        # An unknown reply method ends a node of 2022, so a method of all versions is used.
        reply_method="REQToFileAppend" if req else "fileAppend",
        reply_method_args=(correlation,),
        ack_timeout=_ACK_TIMEOUT_S,
        retries=_RETRIES,
        reply_ack_timeout=_ACK_TIMEOUT_S,
        reply_retries=_RETRIES,
        method_timeout=_METHOD_TIMEOUT_S,
        reply_method_timeout=_METHOD_TIMEOUT_S,
        # File names that nodes require; no file is written.
        directory=operator.name,
        file_name="op.log",
    )
