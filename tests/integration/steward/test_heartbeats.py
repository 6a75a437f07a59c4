"""Heartbeats of Steward and ctrl nodes, whose interval is a setting of the node."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from errorkernel.domain.liveness import Liveness, of_node
from errorkernel.models import Node
from errorkernel.senders.steward.protocol import event_mapping
from errorkernel.senders.steward.store import ingest
from errorkernel.senders.steward.store.ingest import Memory
from tests.support.steward.peer import CTRL, SEED, STEW, StewardPeer, Version

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class HeartbeatPeer:
    """A node that sends heartbeats; ``at`` in seconds."""

    def __init__(self, version: Version, *, ack_timeout: int = 10) -> None:
        self._peer = StewardPeer("", "ship1", version, ack_timeout=ack_timeout, retries=1)
        self._memory = Memory()

    def send(self, at: float, *, copies: tuple[float, ...] = ()) -> None:
        """``copies``: seconds after which the node repeats it, because nobody acknowledged."""
        version = self._peer.version
        message = msgspec.structs.replace(
            self._peer.error_message(""), method=version.method("hello"), data=b"Hello from ship1\n"
        )
        payload, headers = version.pack(message)
        for later in (0.0, *copies):
            heard = event_mapping.read("central.REQHello", headers or {}, payload)
            now = NOW + timedelta(seconds=at + later)
            ingest.record_heartbeats([("ship1", heard)], self._memory, nodes_max=9, now=now)


def liveness(at: float) -> Liveness:
    return of_node(Node.objects.get(name="ship1@steward").heard, NOW + timedelta(seconds=at))


@pytest.mark.parametrize("version", [SEED, STEW, CTRL], ids=lambda version: version.name)
@pytest.mark.parametrize("interval_s", [10, 30, 60, 120, 600])
def test_a_node_does_not_flap_whatever_its_interval(version: Version, interval_s: int) -> None:
    node = HeartbeatPeer(version)
    node.send(0)
    for number in range(1, 6):
        node.send(number * interval_s)
        assert liveness((number + 1) * interval_s) is Liveness.ALIVE
    last, expected_s = 5 * interval_s, max(interval_s, 30)
    assert liveness(last + 1.5 * expected_s) is Liveness.LATE
    assert liveness(last + 3 * expected_s) is Liveness.GONE


def test_a_repeated_heartbeat_is_no_interval() -> None:
    # Without an acknowledgement the last Steward sends each heartbeat twice, the time-out apart.
    node = HeartbeatPeer(STEW, ack_timeout=20)
    for number in range(6):
        node.send(120 * number, copies=(20,))
    assert liveness(5 * 120 + 179) is Liveness.ALIVE


def test_an_outage_between_two_heartbeats_is_no_interval() -> None:
    node = HeartbeatPeer(STEW)
    for at in (0, 30, 60, 660, 690):
        node.send(at)
    assert liveness(690 + 45) is Liveness.LATE
