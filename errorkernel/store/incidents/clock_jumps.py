"""The wall clock of the kernels: where it was last seen, and what a jump moves.

Times that were stored as an interval from a moment on (deadlines, the end of a proposal, heartbeats) move with the
jump, so that the interval stays as long as it was. Times that a person gave as a date (the end of a mute, the expiry of
a rule) stay.
"""

from datetime import datetime, timedelta
from math import ceil
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from errorkernel.domain.clock_jumps import Jump, between_runs
from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import GONE_AFTER
from errorkernel.models import (
    BrokerStream,
    BulkDecision,
    Incident,
    KernelClock,
    KernelHeartbeat,
    Node,
    Outbox,
    Process,
    ProcessAction,
)
from errorkernel.platform.clocks import Reading
from errorkernel.store.incidents import decisions
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.deadline_hold import KEY, TARGET


def start(reading: Reading) -> Jump | None:
    """Compare with what kernels saw last, when one starts; returns the jump that is recorded."""
    with transaction.atomic():
        row = _locked(reading)
        wall_s = (reading.wall - row.seen_at).total_seconds()
        jump = between_runs(wall_s, reading.uptime_s - row.uptime_s if _is_same_boot(row, reading) else None)
        if jump:
            _record(row, jump, reading.wall)
        _see(row, reading)
    return jump


def note_jump(jump: Jump, reading: Reading) -> bool:
    """Record a jump that a kernel has noticed; False where another kernel of this machine was first."""
    with transaction.atomic():
        row = _locked(reading)
        if _is_same_boot(row, reading) and _is_recorded(row, jump, reading):
            return False
        _record(row, jump, reading.wall)
        _see(row, reading)
    return True


def _is_recorded(row: KernelClock, jump: Jump, reading: Reading) -> bool:
    """Whether another kernel of this machine has stored the clock since the jump."""
    wall_s, uptime_s = (reading.wall - row.seen_at).total_seconds(), reading.uptime_s - row.uptime_s
    return between_runs(wall_s, uptime_s) is None if jump.is_certain else uptime_s < jump.shift_s


def see(reading: Reading) -> None:
    """Store where the clock is; called every few seconds, for the next start."""
    if not KernelClock.objects.filter(pk=KEY).update(
        seen_at=reading.wall, uptime_s=reading.uptime_s, boot_id=reading.boot_id
    ):
        with transaction.atomic():
            _locked(reading)


def _locked(reading: Reading) -> KernelClock:
    fresh = {"seen_at": reading.wall, "uptime_s": reading.uptime_s, "boot_id": reading.boot_id}
    KernelClock.objects.get_or_create(pk=KEY, defaults=fresh)
    return KernelClock.objects.select_for_update().get(pk=KEY)


def _is_same_boot(row: KernelClock, reading: Reading) -> bool:
    return bool(reading.boot_id) and row.boot_id == reading.boot_id


def _see(row: KernelClock, reading: Reading) -> None:
    row.seen_at, row.uptime_s, row.boot_id = reading.wall, reading.uptime_s, reading.boot_id
    row.save()


def _record(row: KernelClock, jump: Jump, now: datetime) -> None:
    overdue = Incident.objects.filter(state=State.OPEN.value, deadline_at__lte=now, escalated_at__isnull=True)
    ids = list(overdue.values_list("pk", flat=True)) if jump.is_certain else []
    if jump.shift_s:
        _shift(jump, now)
    if not jump.is_certain:
        return
    before = {"held_since": row.held_since and row.held_since.isoformat()}
    row.held_since, row.jump_s = row.held_since or now, row.jump_s + jump.shift_s
    after = {"held_since": row.held_since.isoformat(), "jump_s": round(jump.shift_s, 3)}
    reason = "The clock of the server jumped. Deadlines are held until somebody resumes them."
    audit.record(audit.entry(Actor.system(now), "hold", TARGET, reason=reason, before=before, after=after))
    for incident in ids:
        decisions.escalate(incident, Actor.system(now), reason="Its deadline passed by a jump of the clock.")


def _shift(jump: Jump, now: datetime) -> None:
    by = timedelta(seconds=jump.shift_s)
    # What was stored after the jump and before it was noticed has the new time already.
    lately = now - timedelta(seconds=jump.noticed_s)
    with counters.changing():
        pending = Incident.objects.filter(state=State.OPEN.value, deadline_at__isnull=False)
        ids = list(pending.exclude(opened_at__gt=lately, opened_at__lte=now).values_list("pk", flat=True))
        pending.filter(pk__in=ids).update(deadline_at=F("deadline_at") + by)
        decisions.number_change(ids)
    watched = BulkDecision.objects.filter(state=BulkDecision.State.CANARY, canary__ended_at__isnull=False)
    watched.update(watch_s=F("watch_s") + ceil(jump.shift_s))
    BulkDecision.objects.filter(state=BulkDecision.State.PROPOSED).update(expires_at=F("expires_at") + by)
    # Those that a heartbeat may name again: the liveness of a process compares both times.
    named = Process.objects.filter(last_seen__gt=now - by - GONE_AFTER)
    named.exclude(last_seen__gt=lately, last_seen__lte=now).update(last_seen=F("last_seen") + by)
    heard = Node.objects.exclude(heartbeat_at__gt=lately, heartbeat_at__lte=now)
    _move(heard, by, "heartbeat_at", "late_at", "gone_at")
    _move(KernelHeartbeat.objects.all(), by, "at", "started_at", "broker_connected_since")
    _move(ProcessAction.objects.filter(ended_at__isnull=True), by, "leased_until")
    # Being early is harmless for these, waiting for a day is not.
    Outbox.objects.filter(next_try_at__gt=now).update(next_try_at=now)
    BrokerStream.objects.filter(observed_at__gt=now).update(observed_at=now)


def _move(rows: QuerySet[Any], by: timedelta, *columns: str) -> None:
    rows.update(**{column: F(column) + by for column in columns})
