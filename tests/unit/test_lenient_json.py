"""JSON that does not quite follow the rules: what is meant is read, and nothing else of it is touched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.protocol import json_codec as wire
from errorkernel.protocol.lenient_json import repair

TRICKY = st.lists(st.sampled_from(["\\", "\\u", "u", '"', "\ud83d", "\ude00", "\udcff", "d83d", "a", "\n"])).map(
    "".join
)


@given(st.text() | TRICKY)
def test_a_text_is_read_as_it_was_written_but_for_surrogates_that_stand_alone(text: str) -> None:
    meant = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if text else ""
    event = {"v": 1, "id": str(uuid7()), "type": "error", "process": "p", "error": {"text": text}, "\udcff": 1}
    data = json.dumps(event).encode()
    assert json.loads(repair(json.dumps(text).encode())) == meant
    assert wire.decode_event(data, Limits()).text == meant.replace("\0", "\N{REPLACEMENT CHARACTER}")
    assert wire.decode_event(b"\xef\xbb\xbf" + data, Limits()).text == wire.decode_event(data, Limits()).text


@given(st.binary())
def test_a_repaired_text_is_not_repaired_again(data: bytes) -> None:
    data = data.replace(b"\xef\xbb\xbf", b"")
    assert repair(repair(data)) == repair(data)
    assert len(repair(data)) == len(data)


@pytest.mark.parametrize("never", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"])
def test_a_time_that_cannot_be_is_as_none_and_what_bears_it_is_taken(never: str) -> None:
    asked = {"v": 1, "id": str(uuid7()), "type": "action", "process": "p", "error": {"text": "x"}, "deadline_s": 1}
    event = wire.decode_event(json.dumps(asked | {"occurred_at": never}).encode(), Limits())
    assert (event.occurred_at, event.cut, event.deadline_s) == (None, ("occurred_at",), 1)
    outcome = {"v": 1, "incident": str(uuid7()), "state": "applied", "at": never}
    assert wire.decode_outcome(json.dumps(outcome).encode(), Limits()).at is None
    hello = {"v": 1, "at": never, "started_at": never, "processes": [{"name": "p", "since": never}]}
    told = wire.decode_heartbeat(json.dumps(hello).encode())
    assert (told.at, told.started_at, told.processes[0].since) == (None, None, None)
