"""Creates the streams and their durable consumers, and updates those that differ."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from errorkernel.broker.connection import REQUEST_TIMEOUT_S, Connection
from errorkernel.broker.errors import BrokerAway, BrokerRefused
from errorkernel.protocol import subjects

log = logging.getLogger("errorkernel.broker")

NANOSECONDS = 1_000_000_000
NEARLY_FULL = 0.8
"""Fill ratio from which a stream is reported."""
ACK_WAIT_S = 20
"""Messages of a killed kernel are delivered to the other kernels after this time."""
MAX_ACK_PENDING = 20_000
DECISIONS_MAX_AGE_S = 30 * 86400
DUPLICATE_WINDOW_S = 120
EVENTS_DUPLICATE_WINDOW_S = 0.1
"""The shortest that nats-server accepts. A message whose id the stream remembers is acknowledged and not stored,
whatever its content and sender; so the database, not the stream, removes duplicates."""

_SHARE = ("max_msgs_per_subject", "discard_new_per_subject")
_STREAM_NOT_FOUND = 10059
_CONSUMER_NOT_FOUND = 10014
_NO_SUCH_MESSAGE = 2**62
_NOT_THERE = ("stream store EOF", "no message found")


def events_stream(max_bytes: int, node_events: int = 0) -> dict[str, Any]:
    """Messages leave the stream once the kernel has stored them (work queue). A full stream refuses messages and
    publishers keep them, because dropping the oldest would lose events.

    ``node_events``: the share of one node, whose events have one subject; above it only that node is refused. 0: no
    limit. Outcomes have a subject each, so they are not limited. Direct gets are for ``stream_reader``.
    """
    share = {"max_msgs_per_subject": node_events, "discard_new_per_subject": True} if node_events else {}
    return {
        **share,
        "allow_direct": True,
        "name": subjects.EVENTS_STREAM,
        "subjects": subjects.EVENTS_SUBJECTS,
        "retention": "workqueue",
        "storage": "file",
        "discard": "new",
        "max_bytes": max_bytes,
        "duplicate_window": int(EVENTS_DUPLICATE_WINDOW_S * NANOSECONDS),
    }


def decisions_stream() -> dict[str, Any]:
    """One message per incident; a node that is away for longer receives its decisions by reconciliation."""
    return {
        "name": subjects.DECISIONS_STREAM,
        "subjects": subjects.DECISIONS_SUBJECTS,
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": DECISIONS_MAX_AGE_S * NANOSECONDS,
        "duplicate_window": DUPLICATE_WINDOW_S * NANOSECONDS,
    }


def commands_stream() -> dict[str, Any]:
    """Commands of operators to nodes; a node receives lost or older ones by reconciliation."""
    return {**decisions_stream(), "name": subjects.COMMANDS_STREAM, "subjects": subjects.COMMANDS_SUBJECTS}


def kernel_durable() -> dict[str, Any]:
    return {
        "durable_name": subjects.KERNEL_DURABLE,
        "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_S * NANOSECONDS,
        "max_ack_pending": MAX_ACK_PENDING,
        "max_deliver": -1,
        "deliver_policy": "all",
    }


def node_durable(node: str, subject: str) -> dict[str, Any]:
    """A node's consumer of its messages below ``subject``."""
    # sample_freq: the broker reports every acknowledgement, which shows that the node has the message.
    return {
        "durable_name": subjects.durable_of(node),
        "filter_subject": subject,
        "ack_policy": "explicit",
        "ack_wait": 30 * NANOSECONDS,
        "max_deliver": -1,
        "deliver_policy": "all",
        "sample_freq": "100",
    }


def _node_durables(node: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (subjects.DECISIONS_STREAM, node_durable(node, subjects.decisions_of(node))),
        (subjects.COMMANDS_STREAM, node_durable(node, subjects.commands_of(node))),
    ]


def definitions(*, events_max_bytes: int, node_events: int, nodes: Sequence[str]) -> dict[str, Any]:
    """All streams and consumers in the form of JetStream's API, for operators of an external broker."""
    return {
        "streams": [events_stream(events_max_bytes, node_events), decisions_stream(), commands_stream()],
        "consumers": [
            {"stream_name": subjects.EVENTS_STREAM, "config": kernel_durable()},
            *({"stream_name": stream, "config": config} for node in nodes for stream, config in _node_durables(node)),
        ],
    }


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """Identity of a stream: its creation time, as the broker formats it, and the number of its newest message. A
    smaller number means lost messages."""

    made: str
    last: int


async def ensure_streams(connection: Connection, *, events_max_bytes: int, node_events: int = 0) -> StreamIdentity:
    """Create or update the streams; returns that of events. Raises BrokerError."""
    made = [
        await ensure_stream(connection, config)
        for config in (events_stream(events_max_bytes, node_events), decisions_stream(), commands_stream())
    ]
    return made[0]


async def ensure_kernel_consumer(connection: Connection, stream: str = subjects.EVENTS_STREAM) -> None:
    """Create or update the kernel's durable consumer of a stream that exists. Raises BrokerError.

    Messages that were delivered to an ended kernel and not stored are delivered again, before later ones.
    """
    await _forget_deliveries(connection, stream)
    await _ensure_durable(connection, stream, kernel_durable())


async def ensure_stream(connection: Connection, config: dict[str, Any]) -> StreamIdentity:
    """Create the stream, or update it if its configuration differs. Raises BrokerError."""
    try:
        # Update first: creating an existing stream would reserve its space a second time before the comparison.
        found = (await connection.api(f"STREAM.INFO.{config['name']}", {}))["config"]
        wanted = await _without_discarding(connection, with_operators_part(config, found), found)
        stream = await connection.api(f"STREAM.UPDATE.{config['name']}", wanted)
    except BrokerRefused as exc:
        if not is_missing(exc):
            raise
        stream = await connection.api(f"STREAM.CREATE.{config['name']}", config)
    return StreamIdentity(str(stream["created"]), int(stream["state"]["last_seq"]))


def with_operators_part(config: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the values that the broker's operator decides: number of replicas and placement."""
    return config | {key: found[key] for key in ("num_replicas", "placement") if key in found and key not in config}


async def _without_discarding(connection: Connection, config: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """``config`` with the present share of a subject if a smaller one could remove messages.

    A server at once removes the oldest messages above a new share. Half is reserved for messages that arrive meanwhile.
    """
    share, former = config.get(_SHARE[0], -1), found.get(_SHARE[0], -1)
    if share <= 0 or 0 < former <= share:
        return config
    most = max((await subject_counts(connection, config["name"], ">")).counts.values(), default=0)
    if most <= share // 2:
        return config
    log.warning("%s holds %d messages of one node; the share of %d applies from the next start on when it holds less",
                config["name"], most, share)  # fmt: skip
    return {key: value for key, value in config.items() if key not in _SHARE} | {
        key: found[key] for key in _SHARE if key in found
    }


@dataclass(frozen=True, slots=True)
class SubjectCounts:
    """``messages`` and ``subjects`` of the whole stream, and the ``counts`` of those subjects that were asked for."""

    messages: int
    subjects: int
    counts: dict[str, int]


async def subject_counts(connection: Connection, stream: str, pattern: str) -> SubjectCounts:
    """The number of messages of each subject that matches ``pattern``. Raises BrokerError."""
    state = (await connection.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern}))["state"]
    counts = {str(subject): int(count) for subject, count in (state.get("subjects") or {}).items()}
    return SubjectCounts(int(state["messages"]), int(state.get("num_subjects", 0)), counts)


async def probe_storage(connection: Connection, stream: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
    """Return when the broker has shown that it can store in this stream. Raises BrokerAway, or BrokerRefused with its
    error about the disk.

    The broker does not report disk errors by itself, and returns the state of a stream from memory even if its files
    are missing. Setting the stream's present configuration makes it write in the stream's directory. After a failed
    write it stores nothing until its restart: then it refuses to remove a message that does not exist, instead of
    reporting that it does not exist.
    """
    config = (await connection.api(f"STREAM.INFO.{stream}", {}, timeout_s=timeout_s))["config"]
    await connection.api(f"STREAM.UPDATE.{stream}", config, timeout_s=timeout_s)
    try:
        removed = {"seq": _NO_SUCH_MESSAGE, "no_erase": True}
        await connection.api(f"STREAM.MSG.DELETE.{stream}", removed, timeout_s=timeout_s)
    except BrokerRefused as exc:
        if not any(healthy in str(exc) for healthy in _NOT_THERE):
            raise


def is_missing(exc: BrokerRefused) -> bool:
    """Whether the stream does not exist."""
    return f"({_STREAM_NOT_FOUND})" in str(exc)


async def _forget_deliveries(connection: Connection, stream: str) -> None:
    """Remove the kernel's durable consumer if messages are unacknowledged and no kernel pulls.

    Waiting for their redelivery would store later messages first and lose the order of a process. In a work queue,
    deleting a consumer loses only the record of what it has delivered. A running kernel has a pull request open; if one
    is overlooked, it receives some messages twice, which is harmless.
    """
    durable = f"{stream}.{subjects.KERNEL_DURABLE}"
    try:
        info = await connection.api(f"CONSUMER.INFO.{durable}", {})
        if info.get("num_ack_pending") and not info.get("num_waiting"):
            await connection.api(f"CONSUMER.DELETE.{durable}", {})
    except BrokerRefused as exc:
        if f"({_CONSUMER_NOT_FOUND})" not in str(exc):
            raise


async def ensure_node_durable(connection: Connection, node: str) -> None:
    """Make the node's durable consumers of decisions and of commands. Raises BrokerError."""
    for stream, config in _node_durables(node):
        await _ensure_durable(connection, stream, config)


async def await_node_consumer(connection: Connection, node: str) -> None:
    """Return if the node's durable consumer exists, with the node's own permissions. Raises BrokerAway if it does not
    exist yet."""
    try:
        await connection.api(f"CONSUMER.INFO.{subjects.DECISIONS_STREAM}.{subjects.durable_of(node)}", {})
    except BrokerRefused as exc:
        raise BrokerAway(str(exc)) from exc


async def consumer_names(connection: Connection, stream: str) -> set[str]:
    """The names of all durables of a stream. Raises BrokerError."""
    found: set[str] = set()
    while True:
        reply = await connection.api(f"CONSUMER.NAMES.{stream}", {"offset": len(found)})
        names = reply.get("consumers") or []
        found.update(names)
        if not names or len(found) >= int(reply["total"]):
            return found


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """State of a stream and of the kernel in it.

    ``waiting``: messages that are not stored yet; ``filled``: used share of its space, from 0 to 1; ``first`` and
    ``last``: numbers of the oldest and newest message; ``delivered``: number of the last message delivered to a kernel.
    """

    made: str
    waiting: int
    filled: float
    first: int
    last: int
    delivered: int


async def stream_status(connection: Connection, stream: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> StreamStatus:
    """The state of a stream. Raises BrokerError, also if it or its consumer does not exist."""
    # In this order: a message that is stored between the two requests must not look discarded.
    found = await connection.api(f"STREAM.INFO.{stream}", {}, timeout_s=timeout_s)
    durable = f"CONSUMER.INFO.{stream}.{subjects.KERNEL_DURABLE}"
    consumer = await connection.api(durable, {}, timeout_s=timeout_s)
    return StreamStatus(
        made=str(found["created"]),
        waiting=int(consumer.get("num_pending", 0)) + int(consumer.get("num_ack_pending", 0)),
        filled=filled(found),
        first=int(found["state"]["first_seq"]),
        last=int(found["state"]["last_seq"]),
        delivered=int(consumer["delivered"]["stream_seq"]),
    )


def filled(info: dict[str, Any]) -> float:
    """The used share of a stream's space, from 0 to 1, by the broker's data."""
    max_bytes = int(info["config"].get("max_bytes", -1))
    return int(info["state"]["bytes"]) / max_bytes if max_bytes > 0 else 0.0


async def _ensure_durable(connection: Connection, stream: str, config: dict[str, Any]) -> None:
    # Creating a durable consumer that exists with the same configuration succeeds, so it is not looked up first.
    name = config["durable_name"]
    await connection.api(f"CONSUMER.DURABLE.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})
