"""Checks of the broker: reachable, streams as configured, a durable consumer for every node."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from errorkernel.broker import streams
from errorkernel.broker.access import Access, own_access
from errorkernel.broker.connection import Connection
from errorkernel.broker.errors import BrokerError
from errorkernel.ops.doctor.report import Check, bytes_of, failed, ok, warning
from errorkernel.platform.conf import Conf, ConfError, hide_login
from errorkernel.protocol import subjects
from errorkernel.senders.broker import external_brokers, stream_definitions

CONNECT_S = 5.0
SKEW_S = 2.0
_REPAIRED_BY_KERNEL = "Restart the kernel (`steward up` or `steward kernel`): it corrects that when it connects."
_NOT_RUNNING = "Start `steward up`, then run this check again."


async def checks(conf: Conf, *, running: bool, nodes: list[str] | None) -> AsyncIterator[Check]:
    """``running``: whether ``steward up`` runs; ``nodes``: those that may connect, None where nobody could say."""
    access = _access(conf)
    if isinstance(access, Check):
        yield access
        return
    if conf.embedded_broker and not running:
        yield warning("broker", "not checked: `steward up` is not running, and neither is its broker", _NOT_RUNNING)
        return
    connection = Connection(access.url, name="steward doctor", seed=access.seed)
    connection.start()
    try:
        await connection.wait_until_ready(CONNECT_S)
        yield ok("broker", f"{hide_login(access.url)} accepts the kernel")
        async for check in _connected(conf, connection, nodes):
            yield check
    except BrokerError as exc:
        yield failed("broker", f"{hide_login(access.url)} cannot be used: {exc}", _remedy(conf))
    finally:
        await connection.close()


async def external_checks(conf: Conf) -> AsyncIterator[Check]:
    """Brokers that senders' nodes connect to, where they are not the product's."""
    for broker in external_brokers(conf):
        connection: Connection | None = None
        try:
            access = broker.access(conf)
            connection = Connection(access.url, name="steward doctor", seed=access.seed)
            connection.start()
            await connection.wait_until_ready(CONNECT_S)
            yield ok(broker.name, f"{hide_login(access.url)} accepts the kernel")
            for stream in broker.streams:
                yield await _stream(connection, stream, "")
        except (BrokerError, ConfError) as exc:
            yield failed(broker.name, f"it cannot be used: {exc}", broker.remedy)
        finally:
            if connection:
                await connection.close()


def _access(conf: Conf) -> Access | Check:
    # The seed of an embedded broker is made by `steward up`, not by who only looks.
    if conf.embedded_broker and not conf.data_file("kernel.nk").exists():
        return warning("broker", "not checked: it has never been started", _NOT_RUNNING)
    try:
        return own_access(conf)
    except ConfError as exc:
        return failed("broker", str(exc).rstrip("."), "Correct the setting that is named.")


def _remedy(conf: Conf) -> str:
    if conf.embedded_broker:
        return f"Restart `steward up`. {conf.data_file('nats') / 'server.log'} names the reason why the broker ended."
    return "Start it, compare STEWARD_NATS_URL, and configure the users that `steward broker-config` prints."


async def _connected(conf: Conf, connection: Connection, nodes: list[str] | None) -> AsyncIterator[Check]:
    try:
        account = await connection.api("INFO", {})
    except BrokerError as exc:
        yield failed("jetstream", f"it is disabled: {exc}", "Enable JetStream as `steward broker-config` prints it.")
        return
    yield ok("jetstream", f"{bytes_of(account['storage'])} stored")
    wanted = [
        streams.events_stream(conf.stream_max_bytes, conf.node_stream_events),
        streams.decisions_stream(),
        streams.commands_stream(),
        *stream_definitions(conf),
    ]
    for stream in wanted:
        yield await _stream(connection, stream, _start_again(conf))
    if nodes is not None:
        yield await _durables(connection, nodes)


def _start_again(conf: Conf) -> str:
    """The remedy for a broker that cannot store."""
    if conf.embedded_broker:
        where = conf.data_file("nats")
        return f"Make {where} writable and free disk space. `steward up` then restarts its broker by itself."
    return "Make its store directory writable and free disk space, then restart that nats-server."


async def _stream(connection: Connection, wanted: dict[str, Any], start_again: str) -> Check:
    """``start_again``: the remedy for a broker that cannot store; empty: do not probe it."""
    name, remedy = wanted["name"], _REPAIRED_BY_KERNEL
    try:
        info = await connection.api(f"STREAM.INFO.{name}", {})
    except BrokerError as exc:
        return failed(f"stream {name}", f"it does not exist: {exc}", remedy)
    have = info["config"]
    wrong = [
        f"{key} is {have.get(key)!r} instead of {value!r}" for key, value in wanted.items() if have.get(key) != value
    ]
    if wrong:
        if have.get("retention") != wanted["retention"]:
            remedy = f"The broker cannot change the retention. When the stream {name} is empty, remove it. " + remedy
        return failed(f"stream {name}", "; ".join(wrong), remedy)
    if start_again:
        try:
            await streams.probe_storage(connection, name)
        except BrokerError as exc:
            return failed(f"stream {name}", f"the broker cannot store in it: {exc}", start_again)
    skew_s = _skew_s(info)
    if skew_s is not None and abs(skew_s) > SKEW_S:
        return warning(
            f"stream {name}",
            f"the broker's clock differs by {skew_s:+.1f} s from this machine's",
            "Synchronize both with NTP.",
        )
    state, filled = info["state"], streams.filled(info)
    if filled >= streams.NEARLY_FULL:
        return warning(
            f"stream {name}",
            f"it is full to {filled:.0%}",
            "Check that a kernel runs and stores. If the stream still grows, raise its size.",
        )
    return ok(f"stream {name}", f"{state['messages']} messages, {bytes_of(state['bytes'])}, configured correctly")


def _skew_s(info: dict[str, Any]) -> float | None:
    """The broker's clock minus this machine's; None where the reply has no time."""
    try:
        broker_time = datetime.fromisoformat(str(info["ts"])[:26].rstrip("Z")).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return None
    return (broker_time - datetime.now(UTC)).total_seconds()


async def _durables(connection: Connection, nodes: list[str]) -> Check:
    have = await streams.consumer_names(connection, subjects.DECISIONS_STREAM)
    missing = [name for name in nodes if subjects.durable_of(name) not in have]
    if missing:
        shown = ", ".join(missing[:5]) + (" and more" if len(missing) > 5 else "")
        return failed(
            "node durables",
            f"{len(missing)} of {len(nodes)} nodes cannot fetch decisions: {shown}",
            _REPAIRED_BY_KERNEL,
        )
    return ok("node durables", f"each of {len(nodes)} nodes has one")
