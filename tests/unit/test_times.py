"""Times as senders write them: none of them costs the event."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errorkernel.domain.limits import Limits
from errorkernel.domain.values import Event
from errorkernel.protocol import json_codec, times

TWO_PM = datetime(2026, 11, 24, 14, tzinfo=UTC)
ID = "0193558c-1111-7000-8000-000000000001"


def event_at(occurred_at: object) -> Event:
    fields = {"v": 1, "id": ID, "type": "error", "process": "p", "error": {"text": "no"}, "occurred_at": occurred_at}
    return json_codec.decode_event(json.dumps(fields).encode(), Limits())


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-24T14:00:00Z", "2026-11-24T14:00Z", "2026-11-24T14:00", "2026-11-24T14Z", "2026-11-24 14:00:00",
        "2026-11-24T14:00:00+00", "2026-11-24T15:00+01:00", "2026-11-24T13:00-0100", "2026-11-24T13:00:00\u221201:00",
        "20261124T140000Z", "20261124T1400Z", "20261124T140000,000Z", "2026-11-24T14:00:00,0Z", "2026-W48-2T14:00Z",
        "2026-328T14:00Z", "2026328T140000Z", "2026-11-24t14:00z", " 2026-11-24T14:00:00Z\n", "2026-11-24T14:00:00 Z",
        "2026-11-24 14:00:00 UTC", "2026-11-24 14:00:00 +0000", "2026-11-24T14:00:00.000000000Z",
        "Tue, 24 Nov 2026 14:00:00 GMT", "Tue, 24 Nov 2026 15:00:00 +0100", 1795528800, 1795528800.0, 1795528800000,
    ],
)  # fmt: skip
def test_the_time_that_was_meant_is_read(written: object) -> None:
    event = event_at(written)
    assert (event.occurred_at, event.cut) == (TWO_PM, ())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T23:59:60.5Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2027-01-01T00:59:60+01:00", datetime(2027, 1, 1, tzinfo=UTC)),
        ("20261231T235960Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T24:00:00Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31T24:00Z", datetime(2027, 1, 1, tzinfo=UTC)),
        ("2026-12-31", datetime(2026, 12, 31, tzinfo=UTC)),
        ("2026-12-31Z", datetime(2026, 12, 31, tzinfo=UTC)),
    ],
)
def test_leap_seconds_ends_of_days_and_dates(written: str, meant: datetime) -> None:
    assert event_at(written).occurred_at == meant


@pytest.mark.parametrize(
    "written",
    ["yesterday", "", "2026-13-01T00:00Z", "2026-11-24T14:61Z", "24.11.2026", "x" * 10_000, True, {}, [], 1e300, -1e300,
     "2026-11-24T14:00:61Z", "9999-12-31T24:00Z", "\0", "١٤:٠٠"],
)  # fmt: skip
def test_a_time_that_cannot_be_read_is_left_out_and_marked(written: object) -> None:
    event = event_at(written)
    assert (event.occurred_at, event.cut) == (None, ("occurred_at",))


def test_times_of_outcomes_and_heartbeats_are_read_too() -> None:
    outcome = {"v": 1, "incident": ID, "state": "applied", "at": "2026-11-24T14:00Z"}
    assert json_codec.decode_outcome(json.dumps(outcome).encode(), Limits()).at == TWO_PM
    heartbeat = {"started_at": 1795528800, "at": "soon", "processes": [{"name": "p", "since": "20261124T140000Z"}, 7]}
    heartbeat["processes"].pop()  # type: ignore[attr-defined]
    read = json_codec.decode_heartbeat(json.dumps(heartbeat).encode())
    assert (read.started_at, read.at, read.processes[0].since) == (TWO_PM, None, TWO_PM)


@settings(deadline=None)
@given(st.text() | st.integers() | st.floats() | st.dates().map(str) | st.datetimes().map(str))
def test_any_value_gives_a_time_or_none(written: object) -> None:
    assert times.parse(written) is None or isinstance(times.parse(written), datetime)
