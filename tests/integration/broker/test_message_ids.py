"""What the broker remembers of message ids is an economy: it hides no message for longer than a moment."""

import asyncio

from errorkernel.broker import streams
from errorkernel.broker.connection import Connection
from errorkernel.senders.steward.broker.streams import ensure_error_stream

STREAM_BYTES = 2**24
FORGOTTEN_S = 2 * streams.EVENTS_DUPLICATE_WINDOW_S + 0.1


async def test_the_dedup_window_is_shortened_when_a_kernel_starts(
    connection: Connection,
) -> None:
    former = {**streams.events_stream(STREAM_BYTES), "duplicate_window": 120 * streams.NANOSECONDS}
    await connection.api("STREAM.CREATE.EK_EVENTS", former)
    first = await connection.store("ek.evt.ship1", b"refused", msg_id="one")
    assert await connection.store("ek.evt.ship1", b"mended", msg_id="one") == first
    await streams.ensure_streams(connection, events_max_bytes=STREAM_BYTES)
    await asyncio.sleep(FORGOTTEN_S)
    assert await connection.store("ek.evt.ship1", b"mended", msg_id="one") == first + 1
    await asyncio.sleep(FORGOTTEN_S)
    assert await connection.store("ek.out.ship2.one", b"of another node", msg_id="one") == first + 2


async def test_answers_and_errors_of_stewards_nodes_are_remembered_for_longer(connection: Connection) -> None:
    await streams.ensure_streams(connection, events_max_bytes=STREAM_BYTES)
    await ensure_error_stream(connection, max_bytes=STREAM_BYTES)
    windows = {}
    for name in await stream_names(connection):
        windows[name] = (await connection.api(f"STREAM.INFO.{name}", {}))["config"]["duplicate_window"]
    events = windows.pop("EK_EVENTS")
    assert events == 100_000_000
    assert set(windows.values()) == {120 * streams.NANOSECONDS}
    assert len(windows) == 3


async def stream_names(connection: Connection) -> list[str]:
    return list((await connection.api("STREAM.NAMES", {}))["streams"])
