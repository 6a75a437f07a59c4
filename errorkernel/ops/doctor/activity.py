"""Checks of what runs: the kernel's heartbeat, the channel layer, the clocks."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from channels.layers import get_channel_layer
from django.db import connection

from errorkernel.models import Node
from errorkernel.ops.doctor.database import guarded
from errorkernel.ops.doctor.report import Check, failed, ok, warning
from errorkernel.platform.conf import Conf
from errorkernel.store import web_heartbeats
from errorkernel.store.platform import deadline_hold
from errorkernel.store.status import system_status

LAG_MESSAGES = 10_000
LAYER_S = 5.0
SKEW_S = 5.0


def checks(conf: Conf, *, running: bool) -> Iterator[Check]:
    """The checks that need a usable database."""
    yield guarded("kernel", lambda: _kernel(conf, running))
    yield guarded("deadlines", _deadlines)
    yield guarded("secret key", _secret_key)
    yield guarded("database clock", _database_clock)
    yield guarded("node clocks", _node_clocks)


def _kernel(conf: Conf, running: bool) -> Check:
    now = system_status.read(datetime.now(UTC))
    age_s = now.kernel_age_s
    heard = "no kernel has ever run" if age_s is None else f"the last heartbeat is {age_s:.0f} s old"
    if conf.embedded_broker and not running:
        return warning("kernel", f"not checked: `steward up` is not running ({heard})", "Start `steward up`.")
    if age_s is None or now.kernel_is_late:
        return failed(
            "kernel", heard, "Start `steward up`, or `steward kernel` where the roles run in separate processes."
        )
    if now.flooding:
        return warning(
            "kernel",
            f"the node {now.flooding} floods: {now.lag} messages are not stored yet",
            f"Find out why {now.flooding} sends so much, or disable it on its page.",
        )
    if now.lag > LAG_MESSAGES:
        return warning(
            "kernel",
            f"{now.lag} messages are not stored yet",
            "Wait. If the number grows, start another `steward kernel`.",
        )
    return ok("kernel", f"heartbeat {age_s:.1f} s ago, {now.lag} messages not stored yet")


def _deadlines() -> Check:
    row = deadline_hold.status()
    if row.held_since:
        return failed(
            "deadlines",
            f"they are held since {row.held_since:%Y-%m-%d %H:%M:%S} UTC: the clock jumped by {row.jump_s:+.0f} s",
            "Check this machine's clock, then press Resume deadlines on a page.",
        )
    return ok("deadlines", "they apply")


def _secret_key() -> Check:
    now = datetime.now(UTC)
    if others := web_heartbeats.with_other_key(now=now):
        return failed(
            "secret key",
            f"these web roles use another one, and refuse sessions of the others: {', '.join(others[:5])}",
            "Set the same STEWARD_SECRET_KEY everywhere, and restart them.",
        )
    return ok("secret key", f"used by all web roles that serve now ({web_heartbeats.count_serving(now=now)})")


def _database_clock() -> Check:
    if connection.vendor == "sqlite":
        return ok("database clock", "SQLite uses this machine's clock")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        skew_s = (cursor.fetchone()[0] - datetime.now(UTC)).total_seconds()
    if abs(skew_s) > SKEW_S:
        return warning(
            "database clock",
            f"it differs by {skew_s:+.1f} s from this machine's",
            "Synchronize both machines with NTP.",
        )
    return ok("database clock", f"it differs by {skew_s:+.1f} s from this machine's")


def _node_clocks() -> Check:
    skews = Node.objects.filter(enabled=True, clock_skew_s__isnull=False).values_list("name", "clock_skew_s")
    wrong = [f"{name} {skew_s:+.1f} s" for name, skew_s in skews if abs(skew_s or 0.0) > SKEW_S]
    if wrong:
        shown = ", ".join(wrong[:5]) + (" and more" if len(wrong) > 5 else "")
        return warning(
            "node clocks",
            f"{len(wrong)} differ by more than {SKEW_S:.0f} s: {shown}",
            "Synchronize these machines with NTP.",
        )
    return ok("node clocks", f"{len(skews)} are known, none differs by more than {SKEW_S:.0f} s")


async def layer(conf: Conf, *, running: bool) -> Check:
    """Send a message through the channel layer and receive it."""
    name = "channel layer"
    if conf.channel_layer == "memory":
        if not conf.embedded_broker:
            return warning(
                name,
                "memory connects web and kernel only within one process",
                "Set STEWARD_CHANNEL_LAYER to nats where they run in separate processes.",
            )
        return ok(name, "memory: web and kernel run in one process")
    if conf.channel_layer == "nats" and conf.embedded_broker and not running:
        return warning(
            name, "not checked: `steward up` is not running", "Start `steward up`, then run this check again."
        )
    try:
        await _there_and_back()
    except Exception as exc:
        return failed(
            name, f"no message came back through {conf.channel_layer.partition(':')[0]}: {exc!r}",
            "Start the server that it needs, or set STEWARD_CHANNEL_LAYER to one that runs.",
        )  # fmt: skip
    return ok(name, f"{conf.channel_layer.partition(':')[0]}: a test message came back")


async def _there_and_back() -> None:
    """Raises the layer's errors and TimeoutError. All of it is closed, or the loop would wait for it at its end."""
    used = get_channel_layer()
    channel = await used.new_channel()
    arriving = asyncio.ensure_future(used.receive(channel))
    try:
        async with asyncio.timeout(LAYER_S):
            while not arriving.done():  # at most once: a message sent before the other side listens is lost
                await used.send(channel, {"type": "doctor"})
                await asyncio.wait({arriving}, timeout=0.2)
    finally:
        arriving.cancel()
        await asyncio.wait({arriving})
        if hasattr(used, "close"):
            await used.close()
