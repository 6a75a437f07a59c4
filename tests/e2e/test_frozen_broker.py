"""A broker that is stopped (SIGSTOP): its machine takes connections and data, and nobody answers."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.test_external_broker import Foreign, foreign  # noqa: F401 - a fixture
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for

HEALED_S = 70.0


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(tmp_path_factory.mktemp("frozen") / "data").start()
    yield running
    running.stop()


def readiness(product: Product) -> dict[str, Any]:
    return dict(product.call("/health/ready", "")[1])


def post(product: Product, token: str) -> int:
    event = {"v": 1, "id": str(uuid4()), "type": "info", "process": "p", "error": {"text": "hello"}}
    return product.call("/api/v1/events", token, event)[0]


def test_a_frozen_broker_of_ours_is_restarted_at_its_port(product: Product) -> None:
    wait_for(lambda: readiness(product)["ready"], HEALED_S)
    nats, token = product.directory / "nats", product.add_node("ship1")["token"]
    wait_for(lambda: post(product, token) == 202)
    pid, port = int((nats / "nats.pid").read_text()), (nats / "port").read_text()
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: not readiness(product)["checks"]["broker"], PATIENCE_S)
    wait_for(lambda: (nats / "nats.pid").read_text() != str(pid), PATIENCE_S)
    wait_for(lambda: readiness(product)["ready"], HEALED_S)
    assert (nats / "port").read_text() == port
    wait_for(lambda: post(product, token) == 202)
    assert "The broker cannot store: The broker does not answer." in product.log()
    assert not Path(f"/proc/{pid}").exists()


def test_a_frozen_broker_of_others_is_named_and_refuses_at_once(foreign: Foreign) -> None:  # noqa: F811
    foreign.write_config()
    foreign.start_server()
    foreign.start()
    wait_for(lambda: readiness(foreign)["ready"])
    token = foreign.add_node("ship1")["token"]
    assert foreign.server
    foreign.server.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: not readiness(foreign)["checks"]["broker"], PATIENCE_S)
        began = time.monotonic()
        assert post(foreign, token) == 503
        assert time.monotonic() - began < 3, "it is known already, so nothing is waited for"
        wait_for(lambda: "is not restarted: it is an external broker" in foreign.log(), PATIENCE_S)
    finally:
        foreign.server.send_signal(signal.SIGCONT)
    wait_for(lambda: readiness(foreign)["ready"], HEALED_S)
