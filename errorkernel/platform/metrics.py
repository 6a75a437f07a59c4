"""Every metric of the product, and the only module that uses prometheus_client.

The rest of the product calls the small functions below. Counters count since the start of this process. Numbers from
the database (pending incidents, heartbeats) are read at scrape time through a registered provider, so that this module
imports no models.

The ``steward_…`` names are those of existing Steward dashboards, and ``ctrl_…`` those of ctrl; ``errorkernel_…`` are
ours.
Source: https://prometheus.io/docs/instrumenting/writing_exporters/
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily

from errorkernel.domain.access_denials import DenialKind
from errorkernel.domain.process_actions import ActionKind, ActionOutcome
from errorkernel.domain.values import Action, EventType, Level

log = logging.getLogger("errorkernel.metrics")

# A ``_created`` series beside every counter would double the scraped data without a use.
disable_created_metrics()  # type: ignore[no-untyped-call]

OLD_PREFIXES = ("steward", "ctrl")
"""Prefixes of the names in existing dashboards; both have the same series."""

REJECTION_REASONS = (
    "aborted", "bad_compression", "bad_node", "bad_process", "bad_subject", "bad_time", "bad_token", "bad_version",
    "body_too_big", "broker", "cannot_be_stored", "empty", "encoding", "no_token", "not_cbor", "not_gob", "not_gzip",
    "not_json", "not_zstd", "rate", "refused", "share", "too_big", "too_deep", "too_many", "too_many_nodes",
    "id_reused", "unknown_command", "unknown_incident", "unknown_layout", "waits", "wrong_incident", "wrong_shape",
)  # fmt: skip
"""Why input is rejected: the reasons of ``ProtocolError`` and those of the HTTP side."""

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"

# A registry of our own: the library's global one refuses a second registration when this module is loaded again.
REGISTRY = CollectorRegistry()


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers from the database at scrape time. ``contact_last``: name of an enabled node → Unix time of its last
    contact in any way (our clock); ``nodes``: liveness → number of nodes."""

    incidents_open: int = 0
    oldest_open_s: float = 0.0
    contact_last: Mapping[str, float] = field(default_factory=dict)
    nodes: Mapping[str, int] = field(default_factory=dict)
    deadlines_held: bool = False


class _FactsCollector:
    """Calls the provider at each scrape. When it fails, its series are absent, which alerts can detect."""

    def __init__(self) -> None:
        self.provider: Callable[[], Facts] | None = None

    def collect(self) -> Iterable[Any]:
        if self.provider is None:
            return
        try:
            facts = self.provider()
        except Exception:
            log.exception("The numbers from the database could not be read for /metrics")
            return
        yield GaugeMetricFamily("errorkernel_incidents_open", "Pending incidents.", value=facts.incidents_open)
        yield GaugeMetricFamily(
            "errorkernel_oldest_open_seconds",
            "Age of the oldest pending incident, 0 without one.",
            value=facts.oldest_open_s,
        )
        yield GaugeMetricFamily(
            "errorkernel_deadlines_held",
            "1 while a jump of the clock holds deadlines, otherwise 0.",
            value=int(facts.deadlines_held),
        )
        for prefix in OLD_PREFIXES:
            yield GaugeMetricFamily(
                f"{prefix}_hello_nodes_total", "Enabled nodes that were heard.", value=len(facts.contact_last)
            )
            contact = GaugeMetricFamily(
                f"{prefix}_hello_node_contact_last", "Unix time of an enabled node's last contact.", labels=["nodeName"]
            )
            for name, moment in facts.contact_last.items():
                contact.add_metric([name], moment)
            yield contact
        alive = GaugeMetricFamily("errorkernel_nodes", "Enabled nodes, by liveness.", labels=["liveness"])
        for liveness, count in facts.nodes.items():
            alive.add_metric([liveness], count)
        yield alive

    def describe(self) -> Iterable[Any]:
        """Empty: registering must not read the database, which may not exist yet."""
        return ()


_facts = _FactsCollector()
REGISTRY.register(_facts)

ProcessCollector(registry=REGISTRY)


def _counter(name: str, doc: str, labels: Mapping[str, Iterable[str]] | None = None) -> Counter:
    """``labels``: name → the values that are known. Their series start at 0, because Prometheus' ``increase`` does not
    see the first count of a series that begins with it."""
    labels = labels or {}
    counter = Counter(name, doc, tuple(labels), registry=REGISTRY)
    if labels:
        for values in itertools.product(*labels.values()):
            counter.labels(*values)
    return counter


def _old_counters(name: str, doc: str) -> list[Counter]:
    return [_counter(f"{prefix}_{name}", doc) for prefix in OLD_PREFIXES]


_received = _old_counters("error_messages_received_total", "Stored events of any type.")
_errors = _old_counters("error_messages_sent_total", "Stored events of type error or action.")
_infos = _old_counters("info_messages_sent_total", "Stored events of type info.")
_events = _counter("errorkernel_events_total", "Stored events.", {"type": EventType, "level": Level})
_rejected = _counter("errorkernel_events_rejected_total", "Rejected events, by reason.", {"reason": REJECTION_REASONS})
_names_folded = _counter(
    "errorkernel_names_folded_total",
    "Events counted on their node's process or problem “other”, because the node has too many names.",
)
_refused_attempts = _counter(
    "errorkernel_refused_attempts_total", "Access denials, by operation.", {"what": get_args(DenialKind)}
)
_refused_connections = _counter(
    "errorkernel_connections_refused_total",
    "Connections that were not taken or were ended, by reason.",
    {"reason": ("address_full", "all_full", "probes_only", "head_late", "head_too_big", "body_late")},
)
_decisions = _counter(
    "errorkernel_decisions_total",
    "Decisions, by action and kind of actor.",
    {"action": Action, "by": ("user", "rule", "deadline")},
)
_steward_actions = _counter(
    "errorkernel_steward_actions_total",
    "Ended actions on nodes of Steward and ctrl.",
    {"action": ActionKind, "result": ActionOutcome, "by": ("user", "rule")},
)
_blocked = _counter("errorkernel_blocked_process_seconds_total", "Seconds for which processes were blocked.")
_live_dropped = _counter("errorkernel_live_dropped_total", "Live connections closed because they were too slow.")
_lag = Gauge("errorkernel_intake_lag_messages", "Messages in the stream that are not stored yet.", registry=REGISTRY)
_flooding_nodes = Gauge(
    "errorkernel_flooding_nodes", "Nodes that send far more events than can be stored.", registry=REGISTRY
)
_stream_filled = Gauge(
    "errorkernel_stream_filled_ratio",
    "Used share of a stream that has a limit, from 0 to 1.",
    ["stream"],
    registry=REGISTRY,
)
_legacy_waiting = Gauge(
    "errorkernel_legacy_waiting_messages", "Errors of Steward/ctrl nodes that are not stored yet.", registry=REGISTRY
)
_legacy_filled = Gauge(
    "errorkernel_legacy_stream_filled_ratio",
    "Used share of that stream, from 0 to 1.",
    registry=REGISTRY,
)
_legacy_discarded = _counter(
    "errorkernel_legacy_discarded_total",
    "Errors that the broker discarded because that stream was full.",
)
_live_clients = Gauge("errorkernel_live_clients", "Open live connections of browsers.", registry=REGISTRY)
_decision_wait = Histogram(
    "errorkernel_decision_wait_seconds",
    "Time from the start of an incident to its decision.",
    buckets=(1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600, 86400),
    registry=REGISTRY,
)
_decision_delivery = Histogram(
    "errorkernel_decision_delivery_seconds",
    "Time from a decision to the node's outcome that it was applied.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 4 * 3600),
    registry=REGISTRY,
)
_batch = Histogram(
    "errorkernel_intake_batch_seconds",
    "Time from a batch's arrival to its acknowledgement.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)


def count_event(type: str, level: str, n: int = 1) -> None:
    """``n`` events of this type and level were stored: once each, not once per delivery."""
    _events.labels(type, level).inc(n)
    for old in (*_received, *(_infos if type == "info" else _errors)):
        old.inc(n)


def count_rejected(reason: str, n: int = 1) -> None:
    """``n`` events were rejected; ``reason``: a short stable word (``ProtocolError.reason`` or the gateway's)."""
    _rejected.labels(reason).inc(n)


def count_names_folded(n: int) -> None:
    """``n`` stored events were counted on their node's ``other`` process or problem."""
    _names_folded.inc(n)


def count_refused_attempt(what: str, n: int = 1) -> None:
    """``n`` accesses were denied; ``what`` is ``publish``, ``subscribe``, ``connect`` or ``http``."""
    _refused_attempts.labels(what).inc(n)


def count_refused_connection(reason: str) -> None:
    """A connection was not taken, taken for probes alone, or ended for invalid input."""
    _refused_connections.labels(reason).inc()


def count_decision(action: str, by_kind: str) -> None:
    """An incident was decided; ``by_kind`` is ``user``, ``rule`` or ``deadline``, never a name."""
    _decisions.labels(action, by_kind).inc()


def count_steward_action(action: str, result: str, by_kind: str) -> None:
    """An action on a Steward or ctrl node has ended ``done``, ``failed`` or ``unclear``; ``by_kind``: user or rule."""
    _steward_actions.labels(action, result, by_kind).inc()


def observe_decision_wait(seconds: float) -> None:
    """Raised → decided. A node's clock that runs ahead gives a negative time, which counts as 0."""
    _decision_wait.observe(max(0.0, seconds))


def observe_decision_delivery(seconds: float) -> None:
    """Decided → applied."""
    _decision_delivery.observe(max(0.0, seconds))


def add_blocked_seconds(seconds: float) -> None:
    """Add the blocked time of all processes since the last call; a negative time counts as 0."""
    _blocked.inc(max(0.0, seconds))


def observe_batch(seconds: float) -> None:
    """The time in which one batch of the intake was stored and acknowledged."""
    _batch.observe(max(0.0, seconds))


def set_lag(n: int) -> None:
    _lag.set(n)


def set_flooding_nodes(count: int) -> None:
    """So many nodes have far more in the stream than can be stored at once."""
    _flooding_nodes.set(count)


def set_stream_filled(stream: str, filled: float) -> None:
    """``filled``: the used share of the stream's limit, from 0 to 1."""
    _stream_filled.labels(stream).set(filled)


def set_legacy(waiting: int, filled: float) -> None:
    """The state of the stream of Steward/ctrl errors."""
    _legacy_waiting.set(waiting)
    _legacy_filled.set(filled)


def count_legacy_discarded(n: int) -> None:
    """The broker discarded ``n`` of these errors, because the stream was full."""
    _legacy_discarded.inc(n)


def set_live_clients(n: int) -> None:
    _live_clients.set(n)


def count_live_dropped(n: int = 1) -> None:
    """``n`` live connections were closed because their browsers could not keep up."""
    _live_dropped.inc(n)


def register_facts(provider: Callable[[], Facts] | None) -> None:
    """Set the provider, which is called in the scrape's own thread; a later call replaces an earlier one."""
    _facts.provider = provider


def render() -> tuple[bytes, str]:
    """All series in Prometheus' text format, and its content type. Blocks while the provider reads the database."""
    return generate_latest(REGISTRY), TEXT_FORMAT


def serve(port: int, host: str = "0.0.0.0") -> Callable[[], None]:  # noqa: S104 - scrapers come from other machines
    """Serve ``/metrics`` on a port of its own, in a thread; returns a function that stops it. Raises OSError where the
    port is in use."""
    server, thread = start_http_server(port, addr=host, registry=REGISTRY)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join(2)

    return stop
