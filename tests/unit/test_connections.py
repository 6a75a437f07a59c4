"""Bounds of connections: from one address, altogether, and who makes room."""

import pytest

from errorkernel.web.asgi.connections import PROBES_ONLY_MAX, Admission, Connections, connections_allowed


class Peer:
    def __init__(self, *, is_busy: bool = False) -> None:
        self.is_open = True
        self.is_busy = is_busy
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


def bounds(*, per_address: int = 2, total: int = 5) -> Connections:
    return Connections(per_address=per_address, total=total, is_exempt=lambda address: address == "127.0.0.1")


def test_an_address_has_a_bounded_number_and_others_are_not_affected() -> None:
    open_ones = bounds()
    first = Peer()
    assert open_ones.admit(first, "192.0.2.1") is Admission.OPEN
    assert open_ones.admit(Peer(), "192.0.2.1") is Admission.OPEN
    assert open_ones.admit(Peer(), "192.0.2.1") is Admission.ADDRESS_FULL
    assert open_ones.admit(Peer(), "192.0.2.2") is Admission.OPEN
    open_ones.release(first)
    open_ones.release(first)
    assert open_ones.admit(Peer(), "192.0.2.1") is Admission.OPEN


def test_a_network_that_one_sender_has_counts_as_one_address() -> None:
    open_ones = bounds()
    for address in ("2001:db8::1", "2001:db8::2%eth0"):
        assert open_ones.admit(Peer(), address) is Admission.OPEN
    assert open_ones.admit(Peer(), "2001:db8:0:0:ffff::3") is Admission.ADDRESS_FULL
    assert open_ones.admit(Peer(), "2001:db8:0:1::3") is Admission.OPEN


def test_what_ended_without_a_word_is_not_counted() -> None:
    open_ones = bounds()
    gone = [Peer(), Peer()]
    for peer in gone:
        open_ones.admit(peer, "192.0.2.1")
        peer.is_open = False
    assert open_ones.admit(Peer(), "192.0.2.1") is Admission.OPEN
    assert len(open_ones) == 1


def test_the_oldest_idle_connection_makes_room() -> None:
    open_ones = bounds()
    busy, idle = Peer(is_busy=True), Peer()
    for peer in (busy, idle, Peer(), Peer(), Peer()):
        open_ones.admit(peer, "127.0.0.1")
    assert open_ones.admit(Peer(), "192.0.2.1") is Admission.OPEN
    assert (busy.aborted, idle.aborted) == (False, True)
    assert len(open_ones) == 5


def test_when_all_are_busy_a_few_more_come_in_for_probes() -> None:
    open_ones = bounds()
    for _ in range(5):
        open_ones.admit(Peer(is_busy=True), "127.0.0.1")
    for _ in range(PROBES_ONLY_MAX):
        assert open_ones.admit(Peer(is_busy=True), "127.0.0.1") is Admission.PROBES_ONLY
    assert open_ones.admit(Peer(), "127.0.0.1") is Admission.ALL_FULL


@pytest.mark.parametrize(("files", "connections"), [(256, 116), (100, 16), (1024, 884), (10**6, 10_000)])
def test_open_files_bound_the_connections(files: int, connections: int) -> None:
    assert connections_allowed(files) == connections
