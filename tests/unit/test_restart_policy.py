"""What follows an ending, as decisions: pauses, intensity, and which siblings are taken along."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.node.supervision.restart_policy import (
    Backoff,
    Ending,
    History,
    Policy,
    Restart,
    decide_restart,
    is_within_intensity,
    record_restart,
)
from errorkernel.node.supervision.strategy import Strategy, plan

policies = st.builds(
    Policy,
    st.sampled_from(Restart),
    st.builds(
        Backoff,
        first_s=st.floats(0.01, 5),
        last_s=st.floats(5, 1000),
        factor=st.floats(1, 10),
        spread=st.floats(0, 0.9),
        healthy_s=st.floats(1, 1000),
    ),
    st.integers(0, 8),
    st.floats(0.1, 1000),
)
stories = st.lists(st.tuples(st.sampled_from(Ending), st.floats(0, 2000), st.floats(0, 1)), max_size=200)


@given(policies, stories)
def test_pauses_stay_within_bounds_whatever_happens(policy: Policy, story: list[tuple[Ending, float, float]]) -> None:
    history, backoff = History(), policy.backoff
    for ending, uptime_s, chance in story:
        verdict = decide_restart(policy, ending, history, uptime_s=uptime_s, chance=chance)
        if ending is Ending.KILLED:
            assert verdict.pause_s == 0
        elif (ending is Ending.STOPPED or policy.restart is Restart.TEMPORARY) or (
            policy.restart is Restart.TRANSIENT and ending is Ending.DONE
        ):
            assert verdict.pause_s is None
        else:
            assert verdict.pause_s is not None
            slack = 1 + 1e-9
            assert backoff.first_s * (1 - backoff.spread) <= verdict.pause_s * slack
            assert verdict.pause_s <= backoff.last_s * (1 + backoff.spread) * slack
            if uptime_s >= backoff.healthy_s:
                assert verdict.history.failures == 1
        history = verdict.history


def test_the_contracts_pauses() -> None:
    policy, history, pauses = Policy(Restart.PERMANENT), History(), []
    for _ in range(11):
        verdict = decide_restart(policy, Ending.FAILED, history, uptime_s=1, chance=0.5)
        history = verdict.history
        pauses.append(verdict.pause_s)
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert decide_restart(policy, Ending.FAILED, history, uptime_s=600, chance=0).pause_s == pytest.approx(0.8)
    with pytest.raises(ValueError, match="backoff"):
        Backoff(first_s=10, last_s=1)


@given(policies, st.lists(st.tuples(st.sampled_from(Ending), st.floats(0, 2000), st.floats(0, 1), st.floats(0, 50))))
def test_no_period_sees_more_restarts_than_the_intensity(
    policy: Policy, story: list[tuple[Ending, float, float, float]]
) -> None:
    """Of a worker that is started anew whenever it may be, late by whatever a busy machine makes of it."""
    now, history, spawned = 0.0, History(), []
    for ending, uptime_s, chance, late_s in story:
        now += uptime_s
        verdict = decide_restart(policy, ending, history, uptime_s=uptime_s, chance=chance)
        history = verdict.history
        if verdict.pause_s is None or not is_within_intensity(policy, history, now + verdict.pause_s):
            continue  # It is over, or quarantined: here, somebody looks again later.
        now += verdict.pause_s + late_s
        spawned.append(now)
        now += late_s / 2
        history = record_restart(policy, history, now)
    for last in spawned:
        assert sum(last - policy.period_s < one <= last for one in spawned) <= policy.intensity


def test_the_contracts_intensity() -> None:
    policy, history = Policy(), History()
    for at in range(0, 50, 10):
        assert is_within_intensity(policy, history, at)
        history = record_restart(policy, history, at)
    assert not is_within_intensity(policy, history, 299.9)
    assert is_within_intensity(policy, history, 300), "the first one is 300 s ago"
    assert not is_within_intensity(Policy(intensity=0), History(), 0)
    for wrong in ({"intensity": -1}, {"period_s": 0}, {"period_s": float("nan")}):
        with pytest.raises(ValueError, match="not a valid intensity"):
            Policy(**wrong)


@given(
    st.sampled_from(Strategy),
    st.lists(st.text(max_size=3), min_size=1, unique=True).flatmap(
        lambda names: st.tuples(st.just(names), st.sampled_from(names), st.sets(st.sampled_from(names)))
    ),
)
def test_strategies_restart_exactly_the_right_siblings(
    strategy: Strategy, family: tuple[list[str], str, set[str]]
) -> None:
    children, failed, leaving = family
    todo = plan(strategy, children, failed, leaving)
    affected = {
        Strategy.ONE_FOR_ONE: {failed},
        Strategy.ONE_FOR_ALL: set(children),
        Strategy.REST_FOR_ONE: {one for one in children if children.index(one) >= children.index(failed)},
    }[strategy]
    assert set(todo.stop) == affected - {failed}, "what has ended is not ended again"
    assert set(todo.start) == affected - (leaving - {failed})
    assert list(todo.stop) == sorted(todo.stop, key=children.index, reverse=True)
    assert list(todo.start) == sorted(todo.start, key=children.index)
