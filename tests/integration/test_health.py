"""Liveness, readiness and metrics: true about what works and what does not, without login, and never kept."""

import asyncio
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import OperationalError
from django.test import AsyncClient, Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from errorkernel.broker.access import kernel_seed
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.embedded import EmbeddedServer, find_binary
from errorkernel.domain.ids import uuid7
from errorkernel.domain.liveness import Liveness
from errorkernel.domain.values import Action, Event, EventType, Heartbeat, Level
from errorkernel.models import KernelHeartbeat
from errorkernel.platform import conf, metrics
from errorkernel.platform.threads import DatabaseThreads
from errorkernel.store import kernel_heartbeats, nodes
from errorkernel.store.incidents import decisions
from errorkernel.store.ingest import id_reuse
from errorkernel.store.ingest.batch import Batch, record
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.platform.actor import Actor
from errorkernel.web.health import checks as probes
from errorkernel.web.node_api import broker_connection
from tests.support.heartbeats import record_hellos
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = {
    "steward_error_messages_received_total": "counter",
    "steward_error_messages_sent_total": "counter",
    "steward_info_messages_sent_total": "counter",
    "steward_hello_node_contact_last": "gauge",
    "steward_hello_nodes_total": "gauge",
    "ctrl_error_messages_received_total": "counter",
    "ctrl_error_messages_sent_total": "counter",
    "ctrl_info_messages_sent_total": "counter",
    "ctrl_hello_node_contact_last": "gauge",
    "ctrl_hello_nodes_total": "gauge",
    "errorkernel_events_total": "counter",
    "errorkernel_events_rejected_total": "counter",
    "errorkernel_incidents_open": "gauge",
    "errorkernel_oldest_open_seconds": "gauge",
    "errorkernel_stream_filled_ratio": "gauge",
    "errorkernel_decisions_total": "counter",
    "errorkernel_decision_wait_seconds": "histogram",
    "errorkernel_decision_delivery_seconds": "histogram",
    "errorkernel_steward_actions_total": "counter",
    "errorkernel_blocked_process_seconds_total": "counter",
    "errorkernel_intake_lag_messages": "gauge",
    "errorkernel_legacy_waiting_messages": "gauge",
    "errorkernel_legacy_stream_filled_ratio": "gauge",
    "errorkernel_legacy_discarded_total": "counter",
    "errorkernel_intake_batch_seconds": "histogram",
    "errorkernel_live_clients": "gauge",
    "errorkernel_live_dropped_total": "counter",
}


def scrape():
    answer = Client().get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    return answer.content.decode()


def value(text, name, **labels):
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return None


def beat(now, broker_error=""):
    kernel_heartbeats.record("host:1", started_at=now, lag=0, broker_error=broker_error, now=now)


async def checks():
    answer = await AsyncClient().get("/health/ready")
    assert "no-store" in answer["Cache-Control"]
    body = answer.json()
    assert body["ready"] is (answer.status_code == 200) is all(body["checks"].values())
    assert len(body["why"]) == list(body["checks"].values()).count(False)
    return body["checks"]


async def become(wanted, within_s=10):
    until = time.monotonic() + within_s
    while (found := await checks()) != wanted and time.monotonic() < until:
        await asyncio.sleep(0.1)
    assert found == wanted


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_probes_need_no_login_are_never_kept_and_only_read(path):
    answer = Client().get(path)
    assert answer.status_code in (200, 503)
    assert "no-store" in answer["Cache-Control"]
    assert "sessionid" not in answer.cookies
    assert Client().post(path).status_code == 405


def test_it_lives_when_it_answers():
    assert Client().get("/health/live").content == b"ok"


async def test_it_is_ready_when_database_broker_and_kernel_are(tmp_path, monkeypatch):
    given = replace(conf.get(), data_dir=tmp_path, nats_url="", nats_port=0)
    monkeypatch.setattr(conf, "get", lambda: given)
    server = EmbeddedServer(
        tmp_path, kernel_key=public_nkey(kernel_seed(given)), host="127.0.0.1", port=0,
        binary=find_binary(given.nats_server), max_store_bytes=2**30,
    )  # fmt: skip
    threads = DatabaseThreads("test")
    try:
        assert await checks() == {"database": True, "broker": False, "kernel": False}
        server.start([])
        await become({"database": True, "broker": True, "kernel": False})
        await threads.run(beat, datetime.now(UTC) - timedelta(seconds=16))
        assert (await checks())["kernel"] is False
        await threads.run(beat, datetime.now(UTC))
        assert await checks() == {"database": True, "broker": True, "kernel": True}
        await threads.run(beat, datetime.now(UTC), "EK_EVENTS: no space left on device")
        assert await checks() == {"database": True, "broker": False, "kernel": True}
        assert "cannot store" in (await AsyncClient().get("/health/ready")).json()["why"][0]
        await threads.run(beat, datetime.now(UTC))
        assert (await checks())["broker"] is True
        server.stop()
        await become({"database": True, "broker": False, "kernel": True})
    finally:
        threads.close()
        await broker_connection.close()
        server.stop()


async def test_a_database_that_fails_or_hangs_is_told_in_time(monkeypatch):
    def away():
        raise OperationalError("unable to open database file")

    monkeypatch.setattr(probes, "DATABASE_TIMEOUT_S", 0.3)
    with monkeypatch.context() as patched:
        patched.setattr(probes, "_kernels", away)
        assert (await checks())["database"] is False
        # It is told while the database still hangs: nothing lets it go before.
        let_go = threading.Event()
        patched.setattr(probes, "_kernels", lambda: let_go.wait(PATIENCE_S))
        assert (await checks())["database"] is False
        let_go.set()
    assert (await checks())["database"] is True


async def test_no_heartbeat_at_all_is_no_kernel():
    assert not await asyncio.to_thread(KernelHeartbeat.objects.exists)
    assert (await checks())["kernel"] is False


def test_every_name_of_the_contract_is_there_with_its_type_and_nothing_is_doubled():
    # A series with labels appears with its first value.
    metrics.count_event("error", "error")
    metrics.count_rejected("not_json")
    metrics.count_decision("kill", "user")
    lines = scrape().splitlines()
    types = {line.split()[2]: line.split()[3] for line in lines if line.startswith("# TYPE")}
    assert NAMES.items() <= types.items()
    assert not [line for line in lines if "_created" in line]
    series = [line.rsplit(" ", 1)[0] for line in lines if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_reports_are_counted_by_type_and_level():
    before = scrape()
    metrics.count_event("action", "critical", 2)
    metrics.count_event("info", "debug", 3)
    after = scrape()

    def grown(name, **labels):
        return value(after, name, **labels) - (value(before, name, **labels) or 0)

    assert grown("errorkernel_events_total", type="action", level="critical") == 2
    assert grown("errorkernel_events_total", type="info", level="debug") == 3
    for prefix in ("steward", "ctrl"):
        assert grown(f"{prefix}_error_messages_received_total") == 5
        assert grown(f"{prefix}_error_messages_sent_total") == 2
        assert grown(f"{prefix}_info_messages_sent_total") == 3


def test_clocks_that_run_backwards_do_not_break_a_counter_or_histogram():
    before = scrape()
    metrics.add_blocked_seconds(-5)
    metrics.observe_decision_wait(-5)
    after = scrape()
    for name in ("errorkernel_blocked_process_seconds_total", "errorkernel_decision_wait_seconds_sum"):
        assert value(after, name) == value(before, name)
    wait = "errorkernel_decision_wait_seconds_count"
    assert value(after, wait) == value(before, wait) + 1


def test_facts_of_the_database_are_asked_for_at_each_scrape():
    now = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    record_hellos([("ship1", Heartbeat()), ("ship2", Heartbeat())], now=now)
    nodes.add_node("silent", actor=Actor.system(now))
    first, second = (ask(now) for _ in range(2))
    text = scrape()
    assert value(text, "errorkernel_incidents_open") == 2
    for prefix in ("steward", "ctrl"):
        assert value(text, f"{prefix}_hello_nodes_total") == 2
        assert value(text, f"{prefix}_hello_node_contact_last", nodeName="ship1") == now.timestamp()
    assert value(text, "steward_hello_node_contact_last", nodeName="silent") is None
    assert value(text, "errorkernel_oldest_open_seconds") >= (timezone.now() - now).total_seconds() - 60
    decisions.decide(first, Action.CONTINUE, actor=Actor("user:a", now))
    assert value(scrape(), "errorkernel_incidents_open") == 1
    decisions.decide(second, Action.CONTINUE, actor=Actor("user:a", now))
    assert value(scrape(), "errorkernel_oldest_open_seconds") == 0


def test_a_node_that_uses_http_only_is_in_contact_and_a_disabled_one_is_not():
    now = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
    for name in ("http-only", "silent", "disabled"):
        nodes.add_node(name, actor=Actor.system(now))
    nodes.note_http_contact(["http-only"], now=now)
    record_hellos([("disabled", Heartbeat())], now=now)
    nodes.set_node_enabled("disabled", False, Actor.system(now))
    text = scrape()
    assert value(text, "steward_hello_node_contact_last", nodeName="http-only") == now.timestamp()
    assert value(text, "steward_hello_nodes_total") == 1
    assert value(text, "steward_hello_node_contact_last", nodeName="disabled") is None
    found = {liveness: value(text, "errorkernel_nodes", liveness=liveness) for liveness in Liveness}
    assert found == {"alive": 0, "late": 0, "gone": 0, "no_heartbeat": 1, "never": 1}


def test_known_labels_start_at_zero():
    # In a process of its own: the first count of a series that begins with it is invisible to Prometheus' increase.
    script = "from errorkernel.platform import metrics; print(metrics.render()[0].decode())"
    text = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert value(text, "errorkernel_decisions_total", action="kill", by="deadline") == 0
    assert value(text, "errorkernel_events_total", type="action", level="critical") == 0
    assert value(text, "errorkernel_refused_attempts_total", what="connect") == 0
    assert value(text, "errorkernel_steward_actions_total", action="kill", result="unclear", by="rule") == 0
    counters = re.findall(r"^# TYPE (\w+) counter$", text, re.MULTILINE)
    assert [name for name in counters if not re.search(rf"^{name}(\{{.*\}})? ", text, re.MULTILINE)] == []


def test_every_reason_of_a_rejection_is_known_to_the_metric():
    source = "\n".join(path.read_text() for path in (ROOT / "errorkernel").rglob("*.py"))
    calls = r'(?:ProtocolError|BodyError|count_rejected|[a-z_]*refus(?:e|al))\((?:\w+, ){0,2}\s*"([a-z_]+)"'
    assert {*re.findall(calls, source), id_reuse.REASON} == set(metrics.REJECTION_REASONS)


def ask(now) -> UUID:
    raised = Event(id=uuid7(), type=EventType.ACTION, level=Level.ERROR, process="p", text="t")
    record(Batch(events=[("ship1", raised)]), NameCache(), now=now)
    return raised.id


def test_metrics_are_served_while_the_database_is_away(monkeypatch, caplog):
    def away():
        raise OperationalError("database is locked")

    metrics.register_facts(away)
    try:
        text = scrape()
    finally:
        metrics.register_facts(probes.read_facts)
    assert value(text, "errorkernel_incidents_open") is None
    assert value(text, "errorkernel_live_clients") is not None
    assert "could not be read" in caplog.text


def test_the_kernel_can_serve_its_metrics_on_a_port_of_its_own():
    import socket
    import urllib.request

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = metrics.serve(port, "127.0.0.1")
    try:
        with pytest.raises(OSError):
            metrics.serve(port, "127.0.0.1")
        answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S).read().decode()
    finally:
        stop()
    assert "errorkernel_intake_batch_seconds_count" in answer
