"""A node of a running product, for the programs of ``steward run``."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.product import Product
from tests.support.run_node import Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    product = Product(tmp_path_factory.mktemp("up") / "data").start()
    yield Node(product, tmp_path_factory.mktemp("ship1"))
    product.stop()


@pytest.fixture
def alone(node: Node, tmp_path: Path) -> Node:
    """The same node with a journal that no other test has."""
    made = object.__new__(Node)
    made.__dict__.update({**node.__dict__, "journal": tmp_path / "journal"})
    return made


@pytest.fixture(autouse=True)
def hangups_are_not_ignored() -> Iterator[None]:
    """As they are where the tests themselves run under ``nohup``: a program that ignores one never sees it."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)
