"""A broker that has lost its data: that is told, once, with what is known to be gone."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from errorkernel.broker import streams
from errorkernel.models import AuditEntry, BrokerStream, KernelHeartbeat
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM
from errorkernel.store import kernel_heartbeats
from errorkernel.store.platform import broker_streams
from errorkernel.store.status import system_status
from tests.support.product import Product
from tests.support.waiting import wait_for

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def beat(worker: str, lag: int | None, seconds: int = 0) -> None:
    kernel_heartbeats.record(worker, started_at=NOW, lag=lag, now=NOW + seconds * SECOND)


@pytest.mark.django_db
def test_a_stream_that_was_made_anew_is_on_record_once_with_what_is_known_to_be_gone() -> None:
    beat("kernel", 7)
    assert broker_streams.seen("EK_EVENTS", "10:00", 0, requested_at=NOW) is None  # the first one that there ever was
    assert broker_streams.seen("EK_EVENTS", "10:00", 0, requested_at=NOW + 1 * SECOND) is None
    assert not AuditEntry.objects.exists()
    assert broker_streams.seen("EK_EVENTS", "11:00", 0, requested_at=NOW + 2 * SECOND) == 7
    assert (
        broker_streams.seen("EK_EVENTS", "11:00", 0, requested_at=NOW + 3 * SECOND) is None
    )  # another kernel, or the same after a restart
    [said] = AuditEntry.objects.all()
    assert (said.actor, said.action, said.target) == ("system", "lost", "stream:EK_EVENTS")
    assert (said.before, said.after) == (
        {"created": "10:00", "last_seq": 0},
        {"created": "11:00", "last_seq": 0, "unstored": 7},
    )
    assert "7 messages" in said.reason


@pytest.mark.django_db
def test_a_kernel_that_stood_still_since_it_asked_does_not_bring_a_lost_stream_back() -> None:
    """Its answer is older than the loss, which another kernel has put on record meanwhile."""
    assert broker_streams.seen("EK_EVENTS", "10:00", 0, requested_at=NOW) is None
    assert broker_streams.seen("EK_EVENTS", "11:00", 0, requested_at=NOW + 5 * SECOND) is not None
    assert broker_streams.seen("EK_EVENTS", "10:00", 0, requested_at=NOW + 4 * SECOND) is None
    assert broker_streams.seen("EK_EVENTS", "11:00", 0, requested_at=NOW + 6 * SECOND) is None
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
def test_a_stream_whose_numbers_go_back_has_lost_messages() -> None:
    """Its files were taken away, its configuration was not: the broker calls it the one that it was."""
    beat("kernel", 7)
    assert broker_streams.seen("EK_EVENTS", "10:00", 5, requested_at=NOW) is None
    broker_streams.reaches("EK_EVENTS", made="10:00", last=90, requested_at=NOW + 1 * SECOND)
    assert broker_streams.seen("EK_EVENTS", "10:00", 90, requested_at=NOW + 2 * SECOND) is None
    assert broker_streams.seen("EK_EVENTS", "10:00", 0, requested_at=NOW + 3 * SECOND) == 7
    broker_streams.reaches(
        "EK_EVENTS", made="10:00", last=91, requested_at=NOW + 2 * SECOND
    )  # looked before, written after
    assert broker_streams.seen("EK_EVENTS", "10:00", 3, requested_at=NOW + 4 * SECOND) is None
    [said] = AuditEntry.objects.all()
    assert "the newest was number 90, and is number 0" in said.reason


@pytest.mark.django_db
def test_what_was_last_seen_waiting_is_kept_while_the_broker_does_not_say() -> None:
    beat("first", 7)
    beat("first", None, 2)
    beat("second", None, 4)
    assert list(KernelHeartbeat.objects.order_by("pk").values_list("lag", "broker_connected")) == [(7, False)] * 2
    assert broker_streams.seen("EK_EVENTS", "10:00", 0, requested_at=NOW) is None
    assert broker_streams.seen("EK_EVENTS", "11:00", 0, requested_at=NOW + 1 * SECOND) == 7
    beat("second", 0, 6)
    assert broker_streams.seen("EK_EVENTS", "12:00", 0, requested_at=NOW + 2 * SECOND) == 0


def test_a_broker_whose_data_was_wiped_is_told_and_one_that_restarts_is_not(tmp_path: Path) -> None:
    product = Product(tmp_path / "data")

    def losses() -> list[Any]:
        with closing(sqlite3.connect(product.directory / "steward.sqlite3")) as database:
            found = database.execute("SELECT json_extract(after, '$.unstored') FROM errorkernel_auditentry"
                                     " WHERE action = 'lost'").fetchall()  # fmt: skip
            return [waiting for (waiting,) in found]

    try:
        product.start()
        product.stop()
        product.start()
        assert losses() == []
        product.stop()
        with closing(sqlite3.connect(product.directory / "steward.sqlite3", isolation_level=None)) as database:
            database.execute("UPDATE errorkernel_kernelheartbeat SET lag = 3")
        shutil.rmtree(product.directory / "nats" / "jetstream")
        product.start()
        assert wait_for(losses) == [3]
        assert "lost the stream of events; at least 3 messages" in product.log()
        product.stop()
        product.start()
        assert losses() == [3]
    finally:
        product.kill()


@pytest.mark.django_db
def test_what_a_full_stream_threw_away_is_counted_once_and_said_on_every_page(client: Client) -> None:
    name = ERROR_STREAM
    assert broker_streams.seen(name, "10:00", 0, requested_at=NOW) is None

    def look(first: int, delivered: int, made: str = "10:00", last: int = 100) -> int:
        return broker_streams.stands(
            name, made=made, waiting=7, filled=0.9, first=first, last=last, delivered=delivered, now=NOW
        )

    assert look(first=0, delivered=0) == 0  # an empty one
    assert look(first=5, delivered=9) == 0  # all of these were delivered
    assert look(first=30, delivered=9) == 20
    assert look(first=30, delivered=9) == 0  # another kernel, or the same again
    assert look(first=32, delivered=9) == 2
    assert look(first=99, delivered=0, made="11:00") == 0  # not the one that is known
    broker_streams.reached(name, 60)
    broker_streams.reached(name, 50)  # a batch that comes again
    assert look(first=58, delivered=9) == 0  # a broker that was killed remembers less than it had delivered
    assert look(first=64, delivered=9) == 3
    broker_streams.reached(name, 1_000_000)  # of a stream before this one, stored late
    assert look(first=66, delivered=9) == 2
    assert [one.after["discarded"] for one in AuditEntry.objects.order_by("pk")] == [20, 22, 25, 27]
    assert BrokerStream.objects.get().discarded == 27
    beat("kernel", 3)
    assert system_status.read(NOW).lag == 10
    client.force_login(get_user_model().objects.create_superuser("admin"))
    assert "90 % full" in client.get("/").content.decode()
    assert broker_streams.seen(name, "11:00", 0, requested_at=NOW + 1 * SECOND) == 7
    assert "90 % full" not in client.get("/").content.decode()


def test_what_operators_decide_of_a_stream_is_kept() -> None:
    found = {"name": "EK_EVENTS", "num_replicas": 3, "placement": {"tags": ["eu"]}, "max_bytes": 1}
    config = streams.with_operators_part({"name": "EK_EVENTS", "max_bytes": 2}, found)
    assert config == {"name": "EK_EVENTS", "max_bytes": 2, "num_replicas": 3, "placement": {"tags": ["eu"]}}
