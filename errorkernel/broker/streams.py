"""The streams and their durable consumers: created where missing, updated where they differ."""

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
"""Fill ratio of a stream from which on it is reported."""
ACK_WAIT_S = 20
"""Messages of a killed kernel are delivered to the other kernels after this time."""
MAX_ACK_PENDING = 20_000
DECISIONS_MAX_AGE_S = 30 * 86400
DUPLICATE_WINDOW_S = 120
EVENTS_DUPLICATE_WINDOW_S = 0.1
"""The shortest that a nats-server takes. Whoever publishes under an id that the stream remembers is told that it is
stored, whatever it is and whoever published under it before; that doubles are harmless is the database's affair."""

_SHARE = ("max_msgs_per_subject", "discard_new_per_subject")
_STREAM_NOT_FOUND = 10059
_CONSUMER_NOT_FOUND = 10014
_NO_SUCH_MESSAGE = 2**62
_NOT_THERE = ("stream store EOF", "no message found")


def events_stream(max_bytes: int, node_events: int = 0) -> dict[str, Any]:
    """What the kernel has stored leaves the stream (work queue). When it is full, publishers are refused and keep their
    reports: dropping the oldest unseen ones would break the first promise.

    ``node_events``: the share of a node, whose events all have one subject; beyond it that node alone is refused.
    0: no limit. Outcomes have a subject each, so they are not limited. Direct gets are for ``stream_reader``.
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
    """One message per incident; a node that stays away longer than the age gets its decisions by sync."""
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
    """What operators sent to nodes; what got lost, or is older than the age, a node gets by sync."""
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
    """A node's consumer of what is meant for it below ``subject``."""
    # sample_freq: the broker tells us of every acknowledgement, which is how "received by the node" is known.
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
    """All of them as JetStream's API takes them: for people who look after a broker of their own."""
    return {
        "streams": [events_stream(events_max_bytes, node_events), decisions_stream(), commands_stream()],
        "consumers": [
            {"stream_name": subjects.EVENTS_STREAM, "config": kernel_durable()},
            *({"stream_name": stream, "config": config} for node in nodes for stream, config in _node_durables(node)),
        ],
    }


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """Which stream it is: when the broker made it, as the broker writes it (another moment is another stream), and the
    number of its newest message (one that goes back has lost messages)."""

    made: str
    last: int


async def ensure_streams(connection: Connection, *, events_max_bytes: int, node_events: int = 0) -> StreamIdentity:
    """Make the streams, or bring them up to date; returns that of reports. Raises BrokerError."""
    made = [
        await ensure_stream(connection, config)
        for config in (events_stream(events_max_bytes, node_events), decisions_stream(), commands_stream())
    ]
    return made[0]


async def ensure_kernel_consumer(connection: Connection, stream: str = subjects.EVENTS_STREAM) -> None:
    """Create or update the kernel's durable consumer of a stream that exists. Raises BrokerError.

    What was delivered to a kernel that ended without storing it is delivered again, before what followed it.
    """
    await _forget_deliveries(connection, stream)
    await _ensure_durable(connection, stream, kernel_durable())


async def ensure_stream(connection: Connection, config: dict[str, Any]) -> StreamIdentity:
    """Create the stream, or update it where its configuration differs. Raises BrokerError."""
    try:
        # Update first: creating one that exists would reserve its room a second time before it is compared.
        found = (await connection.api(f"STREAM.INFO.{config['name']}", {}))["config"]
        wanted = await _without_discarding(connection, with_operators_part(config, found), found)
        stream = await connection.api(f"STREAM.UPDATE.{config['name']}", wanted)
    except BrokerRefused as exc:
        if not is_missing(exc):
            raise
        stream = await connection.api(f"STREAM.CREATE.{config['name']}", config)
    return StreamIdentity(str(stream["created"]), int(stream["state"]["last_seq"]))


def with_operators_part(config: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """``config`` with what the operators of a broker decide: on how many servers a stream is, and on which."""
    return config | {key: found[key] for key in ("num_replicas", "placement") if key in found and key not in config}


async def _without_discarding(connection: Connection, config: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """``config``, with the share of a subject as it was found while more may be stored than a smaller one allows.

    A server that is given a smaller share removes the oldest messages beyond it at once. The half is for what arrives
    meanwhile.
    """
    share, former = config.get(_SHARE[0], -1), found.get(_SHARE[0], -1)
    if share <= 0 or 0 < former <= share:
        return config
    most = max((await subject_counts(connection, config["name"], ">")).values(), default=0)
    if most <= share // 2:
        return config
    log.warning("%s holds %d messages of one node; the share of %d applies from the next start on when it holds less",
                config["name"], most, share)  # fmt: skip
    return {key: value for key, value in config.items() if key not in _SHARE} | {
        key: found[key] for key in _SHARE if key in found
    }


async def subject_counts(connection: Connection, stream: str, pattern: str) -> dict[str, int]:
    """How many messages each of the subjects that match ``pattern`` has. Raises BrokerError."""
    state = (await connection.api(f"STREAM.INFO.{stream}", {"subjects_filter": pattern}))["state"]
    return {str(subject): int(count) for subject, count in (state.get("subjects") or {}).items()}


async def probe_storage(connection: Connection, stream: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
    """Return when the broker has shown that it can store in this stream. Raises BrokerAway, or BrokerRefused with what
    it says of its disk.

    It says nothing of that by itself, and tells how a stream stands from its memory, also when the files below are
    gone. Giving the stream the configuration that it has makes it write in the stream's directory. A write that has
    failed before is remembered, as the end of storing for this run of the broker: that is what is refused when a
    message is to be removed that there cannot be, instead of saying that it is not there.
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
    """Whether what was refused was so because there is no such stream."""
    return f"({_STREAM_NOT_FOUND})" in str(exc)


async def _forget_deliveries(connection: Connection, stream: str) -> None:
    """Remove the kernel's durable where something was delivered and nobody pulls any more.

    Waiting for the acknowledgement's time instead would store what follows first: the order of a process would be lost.
    In a work queue nothing goes with a consumer but the memory of what it has delivered. A kernel that lives has a pull
    request open; should one be overlooked all the same, it gets some messages twice, which is harmless.
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
    """Return when the node's durable consumer exists, asked for as the node itself. Raises BrokerAway where not yet."""
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
    """How a stream stands, and the kernel in it.

    ``waiting``: messages to be stored yet; ``filled``: the share of its room that is taken, from 0 to 1; ``first``
    and ``last``: numbers of the oldest and the newest message; ``delivered``: that of the last one that a kernel got.
    """

    made: str
    waiting: int
    filled: float
    first: int
    last: int
    delivered: int


async def stream_status(connection: Connection, stream: str, *, timeout_s: float = REQUEST_TIMEOUT_S) -> StreamStatus:
    """How a stream stands. Raises BrokerError, also where it or its durable is not there."""
    # In this order: what is delivered and leaves the stream between the two questions must not look discarded.
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
    """Of what the broker says of a stream: the share of its room that is taken, from 0 to 1."""
    max_bytes = int(info["config"].get("max_bytes", -1))
    return int(info["state"]["bytes"]) / max_bytes if max_bytes > 0 else 0.0


async def _ensure_durable(connection: Connection, stream: str, config: dict[str, Any]) -> None:
    # Creating a durable with the configuration that it already has is a success, so no look-up comes first.
    name = config["durable_name"]
    await connection.api(f"CONSUMER.DURABLE.CREATE.{stream}.{name}", {"stream_name": stream, "config": config})
