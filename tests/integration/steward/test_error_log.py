"""The log for old scripts, written, ended in the middle and written again: each line once."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from django.utils import timezone

from errorkernel.domain import sender_names
from errorkernel.domain.limits import Limits
from errorkernel.models import OriginalRecord
from errorkernel.senders.steward.protocol import event_mapping
from errorkernel.senders.steward.store import ingest as store
from errorkernel.senders.steward.store.ingest import Arrival, Memory
from errorkernel.senders.steward.worker.error_log import ErrorLog
from errorkernel.store.ingest.name_cache import NameCache
from tests.support.steward.peer import STEW, StewardPeer

pytestmark = pytest.mark.django_db


def report(*texts: str) -> None:
    peer, now = StewardPeer("", "ship1", STEW), timezone.now()
    arrivals = []
    for number, text in enumerate(texts):
        payload, headers = STEW.pack(peer.error_message(text))
        read = event_mapping.report(event_mapping.read(STEW.subject, headers or {}, payload), Limits())
        arrivals.append(Arrival(f"s:{text}:{number}", now.timestamp(), read))
    store.record(arrivals, [], NameCache(), Memory(), limits=Limits(), now=now)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    log = opened(tmp_path)
    log.step()
    log.close()
    return tmp_path


def opened(place: Path) -> ErrorLog:
    return ErrorLog(place / "errorCentral" / "error.log", place / "position.json")


def step(place: Path, written: Callable[[], None] = lambda: None) -> None:
    log = opened(place)
    try:
        log.step(written)
    finally:
        log.close()


def texts(place: Path) -> list[str]:
    files = sorted((place / "errorCentral").iterdir(), reverse=True)
    return [line.split(", ", 2)[2] for one in files for line in one.read_text().splitlines()]


@pytest.mark.parametrize(
    "data",
    [
        b"Fri Jan 21 06:15:26 2022, node: ship1, error: a\xff\x00b\n",
        b"Fri Jan 21 06:15:26 2022, node: ship1, error: " + b"x" * 100_000 + b"\n",
        b"Fri Jan 21 06:15:26 2022, node: other, relayFromNode: hub,   error: two\n lines \n\n",
        b"Fri Jan  1 06:15:26 2022, node: ship1, error: without an end",
        b"no record at all\n\n",
        b"Fri Jan 21 06:15:26 1022, node: ship1, error: a year that is no year of ours\n",
        b"",
    ],
    ids=["no utf-8", "cut", "blanks", "no end", "no record", "no time", "empty"],
)
def test_each_line_has_the_bytes_that_the_node_sent(data: bytes, place: Path) -> None:
    peer = StewardPeer("", "ship1", STEW)
    message = msgspec.structs.replace(peer.error_message(""), data=data)
    payload, headers = STEW.pack(message)
    read = event_mapping.report(event_mapping.read(STEW.subject, headers or {}, payload), Limits())
    now = timezone.now()
    arrival = Arrival("s:1", now.timestamp(), read)
    store.record([arrival], [], NameCache(), Memory(), limits=Limits(), now=now, keeps_bytes=True)
    report("error: after")
    step(place)
    log = (place / "errorCentral" / "error.log").read_bytes()
    assert log.startswith(data)
    assert log[len(data) :].endswith(b"error: after\n")
    assert log[len(data) :].count(b"\n") == 1
    assert not OriginalRecord.objects.exists(), "written, so not needed any more"


class Killed(BaseException):
    pass


def killed() -> None:
    raise Killed


def test_lines_are_as_they_came_and_written_once(place: Path) -> None:
    report("error: a", "error: b")
    for _ in range(3):
        step(place)
    assert texts(place) == ["error: a", "error: b"]
    record = (place / "errorCentral" / "error.log").read_text().splitlines()[0]
    assert ", node: ship1, " in record
    assert sender_names.SUFFIX not in record


def test_a_kernel_that_is_killed_between_log_and_position_doubles_nothing(place: Path) -> None:
    report("error: a")
    step(place)
    report("error: b", "error: c")
    with pytest.raises(Killed):
        step(place, killed)
    report("error: d")
    step(place)
    assert texts(place) == ["error: a", "error: b", "error: c", "error: d"]


def test_a_log_that_is_rotated_after_the_kill_is_mended_where_it_is(place: Path) -> None:
    report("error: a")
    with pytest.raises(Killed):
        step(place, killed)
    log = place / "errorCentral" / "error.log"
    log.rename(log.with_suffix(".log.1"))
    step(place)
    assert texts(place) == ["error: a"]


def test_half_a_batch_on_the_disk_is_taken_back(place: Path) -> None:
    report("error: a", "error: b")
    log = place / "errorCentral" / "error.log"
    with pytest.raises(Killed):
        step(place, killed)
    os.truncate(log, 7)
    step(place)
    assert texts(place) == ["error: a", "error: b"]


def test_two_kernels_do_not_write_both(place: Path) -> None:
    report("error: a")
    first, second = opened(place), opened(place)
    first.step()
    second.step()
    first.close()
    second.step()
    second.close()
    assert texts(place) == ["error: a"]


def test_what_was_stored_before_the_log_was_wanted_is_not_written(tmp_path: Path) -> None:
    report("error: before")
    step(tmp_path)
    report("error: after")
    step(tmp_path)
    assert texts(tmp_path) == ["error: after"]
