"""Stores a batch of events, outcomes and rejected events in one transaction.

Guarantee: every event is stored exactly once however often it arrives, and the ``seq`` of the events has no gaps. An
event whose id its node has used for another event becomes a rejected event (``id_reuse``). When ``record`` returns, the
batch is committed and may be acknowledged. When it raises, nothing is stored and all may be delivered again.
"""

from collections import Counter as Counts
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction

from errorkernel.bypasses.sql_values import moment
from errorkernel.domain.fingerprint import grouping
from errorkernel.domain.releases import release_of
from errorkernel.domain.rule_policy import is_poison
from errorkernel.domain.values import LEVEL_RANK, Event, EventType, Message, Outcome
from errorkernel.models import Counter, Incident
from errorkernel.store import incarnations, ingest_sql, rollups
from errorkernel.store.incidents import dead_letters, decisions, requeues
from errorkernel.store.incidents.dead_letters import Failure, digest_of
from errorkernel.store.incidents.decisions import OutcomeResult
from errorkernel.store.ingest import id_reuse, placing, rejected_events
from errorkernel.store.ingest.event_rows import EventRow
from errorkernel.store.ingest.name_cache import NameCache
from errorkernel.store.ingest.placing import Placed
from errorkernel.store.ingest.rejected_events import Refusal
from errorkernel.store.ingest_sql import EventColumns, ProblemCount, ProcessCount, StateCount
from errorkernel.store.platform import counters
from errorkernel.store.problem_maintenance import HandledProblems

_to_json = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Batch:
    """Decoded messages that arrived together, with their nodes by the subjects, which the broker has authorized."""

    events: list[tuple[str, Event]] = field(default_factory=list)
    outcomes: list[tuple[str, Outcome]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    has_derived_ids: bool = False
    """The kernel derived the ids from the messages, so an id that is stored means the same message."""


@dataclass(slots=True)
class Recorded:
    """What a batch changed. ``outcomes``: the results of the batch's outcomes, in their order."""

    rows: list[EventRow] = field(default_factory=list)
    changed: list[UUID] = field(default_factory=list)
    outcomes: list[OutcomeResult] = field(default_factory=list)
    applied: list[datetime] = field(default_factory=list)
    """The times of the decisions that nodes reported as applied."""
    refused: list[Refusal] = field(default_factory=list)
    """Events that were rejected because their ids were used before."""
    folded: int = 0
    """Events that were counted on their node's ``other`` process or problem."""


def record(batch: Batch, name_cache: NameCache, *, now: datetime) -> Recorded:
    """Store a batch. Raises what the database raises; nothing of the batch is stored then."""
    try:
        return _record(batch, name_cache, now)
    except IntegrityError:
        # A cached node, process or problem was removed meanwhile, or another kernel stored the same event.
        name_cache.forget()
        return _record(batch, name_cache, now)


def _record(batch: Batch, name_cache: NameCache, now: datetime) -> Recorded:
    recorded = Recorded()
    # Work without the database is done before the transaction, because that delays all other writers.
    unique, reused = id_reuse.split(batch.events)
    placed = [Placed(node, event, grouping.group(event), digest_of(event.message)) for node, event in unique]
    try:
        with transaction.atomic():
            if placed:
                placed, more = _place_new(placed, name_cache, now, changes=bool(batch.outcomes))
                reused += more
            if placed:
                recorded.rows = _record_events(placed, name_cache, now)
                recorded.changed += [row.id for row in recorded.rows if row.incident]
                recorded.folded = sum(item.is_folded for item in placed)
            if not batch.has_derived_ids:
                recorded.refused = [id_reuse.refusal(node, event) for node, event in reused]
            for node, outcome in batch.outcomes:
                recorded.outcomes.append(_record_outcome(node, outcome, recorded, now))
            if refusals := batch.refusals + recorded.refused:
                rejected_events.refuse_all(refusals, now=now)
    except BaseException:
        # Keys that were cached inside a transaction that is rolled back do not exist.
        name_cache.forget()
        raise
    return recorded


def _record_outcome(node: str, outcome: Outcome, recorded: Recorded, now: datetime) -> OutcomeResult:
    result = decisions.record_outcome(node, outcome, now=now)
    if result in (OutcomeResult.CHANGED, OutcomeResult.APPLIED):
        recorded.changed.append(outcome.incident)
        if result is OutcomeResult.APPLIED:
            recorded.applied.append(decisions.decided_at(outcome.incident))
    elif result is OutcomeResult.UNKNOWN:
        result, incident = requeues.record_outcome(node, outcome, now=now)
        recorded.changed += [incident] if incident else []
    return result


def _place_new(
    placed: list[Placed], name_cache: NameCache, now: datetime, *, changes: bool
) -> tuple[list[Placed], list[tuple[str, Event]]]:
    """Those that are not stored yet, with their keys; and the events whose ids other events have.

    ``changes``: incidents change in this transaction, whether it opens some or not."""
    placing.place(placed, name_cache, now)
    # The locks are taken here, as late as possible: everything below needs them, nothing above does.
    counters.lock(Counter.EVENTS)
    action_ids = [item.event.id for item in placed if item.event.type is EventType.ACTION]
    if changes or action_ids:
        counters.hold(Counter.CHANGES)
    events, incidents = ingest_sql.existing([item.event.id for item in placed], action_ids)
    if not events and not incidents:
        return placed, []
    new: list[Placed] = []
    known: list[Placed] = []
    for item in placed:
        blocks = item.is_kept_apart and item.event.id in incidents
        (known if blocks or (item.node_id, item.event.id) in events else new).append(item)
    return new, id_reuse.differing([(item.node, item.event) for item in known])


def _record_events(placed: list[Placed], name_cache: NameCache, now: datetime) -> list[EventRow]:
    for seq, item in enumerate(placed, counters.current(Counter.EVENTS) + 1):
        item.seq = seq
    seen = moment(now)
    states = placing.fold_states(placed, name_cache, now)
    handled = HandledProblems({item.problem_id for item in placed})
    _count_states(placed, states, handled, seen)
    ingest_sql.insert_events([_columns(item, seen) for item in placed])
    _count_totals(placed, handled, seen, now)
    rollups.count(((item.process_id, item.problem_id, item.event.level) for item in placed), now=now)
    handled.note(((item.problem_id, item.event.tags) for item in placed), now=now)
    rows = [_row(item, handled.whole(item.problem_id), now) for item in placed]
    _open_incidents(placed, now)
    dead_letters.keep(_poisonous(placed), now=now)
    counters.take(Counter.EVENTS, len(placed))
    return rows


def _count_states(
    placed: list[Placed],
    states: dict[tuple[int, int], StateCount],
    handled: HandledProblems,
    seen: Any,
) -> None:
    """Continue each (process, problem)'s counts through the batch, in the order of the events. ``states``: those that
    exist."""
    pairs = {(item.process_id, item.problem_id) for item in placed}
    new = {problem for process, problem in pairs if (process, problem) not in states}
    nodes = {item.process_id: item.node_id for item in placed}
    for item in placed:
        pair = item.process_id, item.problem_id
        state = states.get(pair)
        if state is None:
            state = states[pair] = StateCount()
        state.count += 1
        if not item.digest:
            state.consecutive = 0
        elif item.digest == state.last_message:
            state.consecutive += 1
        else:
            state.consecutive = 1
        state.last_message = item.digest
        state.last_seq = item.seq
        state.release = release_of(item.event.tags)
        item.repeat, item.consecutive = state.count, state.consecutive
    ingest_sql.upsert_states(states, nodes, seen)
    ingest_sql.count_problem_nodes(sorted(new | {handled.whole(problem) for problem in new}))


def _count_totals(placed: list[Placed], handled: HandledProblems, seen: Any, now: datetime) -> None:
    problems: dict[int, ProblemCount] = {}
    processes: dict[int, ProcessCount] = {}
    nodes: dict[int, int] = {}
    failures: dict[tuple[int, int], int] = {}
    for item in placed:
        event = item.event
        rank = LEVEL_RANK[event.level]
        for key in {item.problem_id, handled.whole(item.problem_id)}:
            problem = problems.get(key)
            if problem is None:
                problem = problems[key] = ProblemCount(event.level.value, rank)
            problem.events += 1
            if rank > problem.level_rank:
                problem.level, problem.level_rank = event.level.value, rank
        process = processes.get(item.process_id)
        if process is None:
            process = processes[item.process_id] = ProcessCount()
        process.events += 1
        process.failures += event.type is not EventType.INFO
        number = item.incarnation
        if number is not None:
            if process.incarnation is None or number > process.incarnation:
                process.incarnation = number
            incarnation = item.process_id, number
            failures[incarnation] = failures.get(incarnation, 0) + (event.type is not EventType.INFO)
        nodes[item.node_id] = nodes.get(item.node_id, 0) + 1
    ingest_sql.update_problems(problems, seen)
    ingest_sql.update_processes(processes, seen)
    ingest_sql.update_nodes(nodes, seen)
    ingest_sql.count_folded(Counts(item.node_id for item in placed if item.is_folded), seen)
    incarnations.count_failures(failures, now=now)


def _columns(item: Placed, seen: Any) -> EventColumns:
    event = item.event
    message = _message(event.message)
    return EventColumns(
        seq=item.seq,
        id=event.id.hex,
        type=event.type.value,
        level=event.level.value,
        level_rank=LEVEL_RANK[event.level],
        node_id=item.node_id,
        process_id=item.process_id,
        problem_id=item.problem_id,
        process_name=event.process if item.is_process_folded else "",
        incarnation=event.incarnation,
        kind=event.kind,
        text=event.text,
        stack=event.stack,
        message=None if message is None else _to_json(message).decode(),
        relay_from_node=event.relay_from_node,
        tags=_to_json(event.tags).decode(),
        release=release_of(event.tags) or None,
        cut=", ".join(dict.fromkeys(event.cut))[:200],
        repeat=item.repeat,
        occurred_at=moment(event.occurred_at) if event.occurred_at else None,
        received_at=seen,
    )


def _row(item: Placed, whole: int, now: datetime) -> EventRow:
    event = item.event
    return EventRow(
        seq=item.seq,
        id=event.id,
        type=event.type.value,
        level=event.level.value,
        node=item.node,
        process=event.process,
        incarnation=event.incarnation,
        kind=event.kind,
        text=event.text,
        message=_message(event.message),
        occurred_at=event.occurred_at,
        received_at=now,
        problem=item.problem_id,
        whole=whole,
        incident=event.id if event.type is EventType.ACTION else None,
        repeat=item.repeat,
        relay_from_node=event.relay_from_node,
        tags=event.tags,
    )


def _open_incidents(placed: list[Placed], now: datetime) -> None:
    actions = [item for item in placed if item.event.type is EventType.ACTION]
    if not actions:
        return
    counters.take(Counter.CHANGES, len(actions))
    last = counters.current(Counter.CHANGES)
    Incident.objects.bulk_create(
        [
            Incident(
                id=item.event.id,
                seq=item.seq,
                node_id=item.node_id,
                process_id=item.process_id,
                problem_id=item.problem_id,
                incarnation=item.event.incarnation,
                level=item.event.level.value,
                kind=item.event.kind,
                text=item.event.text,
                message=_message(item.event.message),
                repeat=item.repeat,
                consecutive=item.consecutive,
                release=release_of(item.event.tags),
                change=last - len(actions) + 1 + index,
                raised_at=item.event.occurred_at or now,
                opened_at=now,
                # By our own clock: the node's may be wrong by hours.
                deadline_at=now + timedelta(seconds=item.event.deadline_s) if item.event.deadline_s else None,
                on_deadline=item.event.on_deadline.value,
            )
            for index, item in enumerate(actions)
        ],
        batch_size=200,
    )


def _poisonous(placed: list[Placed]) -> Iterator[Failure]:
    for item in placed:
        event = item.event
        if not is_poison(item.consecutive) or event.message is None or event.type is EventType.INFO:
            continue
        yield Failure(
            node_id=item.node_id,
            process_id=item.process_id,
            problem_id=item.problem_id,
            digest=item.digest,
            message=_message(event.message) or {},
            failures=item.consecutive,
            seq=item.seq,
            incident=event.id if event.type is EventType.ACTION else None,
        )


def _message(message: Message | None) -> dict[str, Any] | None:
    if message is None:
        return None
    return {key: value for key, value in msgspec.structs.asdict(message).items() if value}
