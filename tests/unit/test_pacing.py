"""How large a node's windows are: what the link carries in about a second, however fast or far it is."""

import pytest

from errorkernel.node.delivery import pacing
from errorkernel.node.delivery.pacing import Pacer


def send(pacer: Pacer, bytes_per_s: float, round_trip_s: float, windows: int) -> float:
    """Send full windows over a link; returns how long the last one took beyond the round trip."""
    pacer.acknowledged(500, round_trip_s + 500 / bytes_per_s)  # one message first
    transfer_s = 0.0
    for _ in range(windows):
        transfer_s = pacer.window_bytes / bytes_per_s
        pacer.acknowledged(pacer.window_bytes, round_trip_s + transfer_s)
    return transfer_s


@pytest.mark.parametrize("round_trip_s", [0.001, 0.05, 0.6])
@pytest.mark.parametrize("bytes_per_s", [3_000, 64_000, 200_000])
def test_a_window_takes_about_a_second_of_the_link(bytes_per_s: float, round_trip_s: float) -> None:
    assert 0.4 <= send(Pacer(), bytes_per_s, round_trip_s, 30) <= 1.6


def test_a_fast_link_gets_the_largest_window() -> None:
    pacer = Pacer()
    send(pacer, 10**8, 0.01, 10)
    assert pacer.window_bytes == pacing.WINDOW_MAX_BYTES


def test_few_messages_say_nothing_about_the_link() -> None:
    pacer = Pacer()
    for _ in range(20):
        pacer.acknowledged(500, 0.01)
    assert pacer.window_bytes == pacing.WINDOW_FIRST_BYTES


def test_a_link_that_becomes_slow_is_noticed_by_the_next_window() -> None:
    pacer = Pacer()
    send(pacer, 10**8, 0.01, 10)
    assert send(pacer, 64_000, 0.01, 3) <= 1.6


def test_a_new_connection_starts_small() -> None:
    pacer = Pacer()
    send(pacer, 10**8, 0.01, 10)
    pacer.reset()
    assert pacer.window_bytes == pacing.WINDOW_FIRST_BYTES


def test_a_bandwidth_bounds_windows_and_their_average() -> None:
    pacer = Pacer(8000)
    send(pacer, 10**8, 0.01, 10)
    assert pacer.window_bytes == 8000
    assert pacer.pause_s(8000, 0.25) == 0.75
    assert pacer.pause_s(4000, 1.0) == 0
    assert Pacer().pause_s(10**6, 0) == 0


@pytest.mark.parametrize("bandwidth", [0, -1, float("nan")])
def test_a_bandwidth_is_above_0(bandwidth: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Pacer(bandwidth)
