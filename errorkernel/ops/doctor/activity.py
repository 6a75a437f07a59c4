"""Checks of what should be going on: the kernel's heartbeat, the channel layer, the fleet's clocks."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from channels.layers import get_channel_layer
from django.db import connection

from errorkernel.models import Node
from errorkernel.ops.doctor.database import guarded
from errorkernel.ops.doctor.report import Check, failed, ok, warning
from errorkernel.platform.conf import Conf
from errorkernel.store.status import system_status

LAG_MESSAGES = 10_000
LAYER_S = 5.0
SKEW_S = 5.0


def checks(conf: Conf, *, running: bool) -> Iterator[Check]:
    """Needs a database that can be used."""
    yield guarded("kernel", lambda: _kernel(conf, running))
    yield guarded("database clock", _database_clock)
    yield guarded("node clocks", _node_clocks)


def _kernel(conf: Conf, running: bool) -> Check:
    now = system_status.read(datetime.now(UTC))
    age_s = now.kernel_age_s
    heard = "no kernel has ever written that it lives" if age_s is None else f"last heard {age_s:.0f} s ago"
    if conf.embedded_broker and not running:
        return warning("kernel", f"not checked: `steward up` does not run ({heard})", "Start `steward up`.")
    if age_s is None or system_status.kernel_is_late(age_s):
        return failed("kernel", heard, "Start `steward up`, or `steward kernel` where the roles run apart.")
    if now.lag > LAG_MESSAGES:
        return warning(
            "kernel", f"{now.lag} messages are not stored yet", "Wait; if it grows, start another `steward kernel`."
        )
    return ok("kernel", f"heard {age_s:.1f} s ago, {now.lag} messages not stored yet")


def _database_clock() -> Check:
    if connection.vendor == "sqlite":
        return ok("database clock", "is ours")
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        skew_s = (cursor.fetchone()[0] - datetime.now(UTC)).total_seconds()
    if abs(skew_s) > SKEW_S:
        return warning("database clock", f"it is {skew_s:+.1f} s from ours", "Let both machines follow NTP.")
    return ok("database clock", f"{skew_s:+.1f} s from ours")


def _node_clocks() -> Check:
    told = Node.objects.filter(enabled=True, clock_skew_s__isnull=False).values_list("name", "clock_skew_s")
    wrong = [f"{name} {skew_s:+.1f} s" for name, skew_s in told if abs(skew_s or 0.0) > SKEW_S]
    if wrong:
        shown = ", ".join(wrong[:5]) + (" and more" if len(wrong) > 5 else "")
        return warning("node clocks", f"{len(wrong)} are off: {shown}", "Let these machines follow NTP.")
    return ok("node clocks", f"{len(told)} have told theirs, none is off by more than {SKEW_S:.0f} s")


async def layer(conf: Conf, *, running: bool) -> Check:
    """A message there and back through the channel layer."""
    name = "channel layer"
    if conf.channel_layer == "memory":
        if not conf.embedded_broker:
            return warning(
                name,
                "memory connects web and kernel in one process alone",
                "Where they run apart, set STEWARD_CHANNEL_LAYER to nats.",
            )
        return ok(name, "memory: web and kernel are one process")
    if conf.channel_layer == "nats" and conf.embedded_broker and not running:
        return warning(name, "not checked: `steward up` does not run", "Start `steward up`, then ask again.")
    try:
        await _there_and_back()
    except Exception as exc:
        return failed(
            name, f"nothing comes back through {conf.channel_layer.partition(':')[0]}: {exc!r}",
            "Start what it needs, or set STEWARD_CHANNEL_LAYER to what there is.",
        )  # fmt: skip
    return ok(name, f"{conf.channel_layer.partition(':')[0]}: a message went there and back")


async def _there_and_back() -> None:
    """Raises what the layer raises, and TimeoutError. Nothing of it lives on: the loop would wait for it at its end."""
    used = get_channel_layer()
    channel = await used.new_channel()
    arriving = asyncio.ensure_future(used.receive(channel))
    try:
        async with asyncio.timeout(LAYER_S):
            while not arriving.done():  # at most once: what is sent before the other side listens is lost
                await used.send(channel, {"type": "doctor"})
                await asyncio.wait({arriving}, timeout=0.2)
    finally:
        arriving.cancel()
        await asyncio.wait({arriving})
        if hasattr(used, "close"):
            await used.close()
