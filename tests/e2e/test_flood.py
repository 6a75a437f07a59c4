"""One node publishes far more than can be stored at once: another's incident is stored among the first, all is stored
once, and each process in its order."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest

from tests.support.product import Product
from tests.support.waiting import wait_for

FLOOD = 10_000
SOON = 5_000
"""Half of the flood may be stored before the incident on a machine that is busy with other things; without turns, all
of it is."""


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    running = Product(tmp_path / "data").start()
    yield running
    running.kill()


def event(process: str, number: int, kind: str = "error") -> dict[str, Any]:
    return {"v": 1, "id": str(uuid4()), "type": kind, "process": process, "error": {"text": f"number {number}"}}


async def publish(node: dict[str, str], events: list[dict[str, Any]]) -> None:
    name = node["node"]
    broker = await nats.connect(
        node["nats_url"], nkeys_seed_str=node["nkey_seed"], inbox_prefix=f"_INBOX_{name}".encode()
    )
    for number, one in enumerate(events, 1):
        await broker.publish(f"ek.evt.{name}", json.dumps(one).encode())
        if number % 1000 == 0:
            await broker.flush()
    await broker.drain()


def rows(product: Product, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(product.directory / "steward.sqlite3")) as database:
        return database.execute(query).fetchall()


def of_calm(product: Product) -> list[str]:
    """What is stored of the node *calm*, in the order in which it was."""
    return [
        text
        for (text,) in rows(
            product,
            "SELECT text FROM errorkernel_errorevent event JOIN errorkernel_node node ON node.id = event.node_id"
            " WHERE node.name = 'calm' ORDER BY seq",
        )
    ]


@pytest.mark.parametrize("is_killed", [False, True])
def test_another_nodes_incident_is_not_behind_a_flood(product: Product, is_killed: bool) -> None:
    flood, calm = product.add_node("flood"), product.add_node("calm")
    asyncio.run(publish(flood, [event(f"p{number % 7}", number) for number in range(FLOOD)]))
    asyncio.run(publish(calm, [event("copy", number, "action" if number == 5 else "error") for number in range(9)]))
    flooding = "SELECT name FROM errorkernel_node WHERE flooded_at IS NOT NULL AND flood_messages >= 5000"
    [(seq,)] = wait_for(lambda: rows(product, "SELECT seq FROM errorkernel_incident"), 120)
    assert seq < SOON
    if is_killed:
        product.kill()
        product.start()
    else:
        assert wait_for(lambda: rows(product, flooding)) == [("flood",)]
    total = FLOOD + 9
    wait_for(lambda: rows(product, "SELECT count(*) FROM errorkernel_errorevent") == [(total,)], 180)
    assert of_calm(product) == [f"number {number}" for number in range(9)]
    for process in range(7):
        found = rows(
            product,
            "SELECT text FROM errorkernel_errorevent event JOIN errorkernel_process process"
            f" ON process.id = event.process_id WHERE process.name = 'p{process}' ORDER BY seq",
        )
        assert [text for (text,) in found] == [f"number {number}" for number in range(process, FLOOD, 7)]
