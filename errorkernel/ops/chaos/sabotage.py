"""Protections of the product, disabled one at a time in chaos's own processes: the invariants must detect each.

The product has no such switches and must not have any. This module replaces functions by versions without the
protection, in processes that ``errorkernel.ops.chaos`` starts and that read ``STEWARD_CHAOS_BREAK``.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from errorkernel.domain.values import Decision, OutcomeState, Requeue
from errorkernel.node.client import Kernel
from errorkernel.node.delivery.decisions import DecisionReceiver
from errorkernel.node.journal.incidents import Incidents, Receipt
from errorkernel.node.journal.requeues import Requeues
from errorkernel.protocol import json_codec

VARIABLE = "STEWARD_CHAOS_BREAK"
NAMES = {
    "fencing": "a node applies a decision whose incident has ended to the present incident of the process",
    "sync": "nodes never reconcile",
    "outbox": "a decision is published right after its commit or never",
    "compare": "a node does not compare a decision with the one that it has",
    "guard": "a decision is recorded without checking whether there is one",
    "once": "a node takes a requeued message as often as its command arrives",
    "uses": "the decisions of rules are not counted",
}
_OUTBOX_TRIES_S = 1.0


def break_node() -> None:
    """In a node's program, before it starts."""
    _run({"fencing": _no_fencing, "sync": _no_sync, "compare": _no_compare, "once": _no_once})


def break_kernel() -> None:
    """In the kernel or the web, once Django is set up."""
    _run({"outbox": _no_outbox, "guard": _no_guard, "uses": _no_uses})


def _run(breaks: dict[str, Callable[[], None]]) -> None:
    breaks.get(os.environ.get(VARIABLE, ""), lambda: None)()


def _no_sync() -> None:
    async def keep_reconciled(self: DecisionReceiver) -> None:
        await asyncio.get_running_loop().create_future()

    DecisionReceiver.keep_reconciled = keep_reconciled  # type: ignore[method-assign]


def _no_fencing() -> None:
    _take_without(compare=True)
    obey = Kernel._obey

    def without_fencing(self: Kernel, decision: Decision) -> None:
        if decision.incident in self._waiting:
            obey(self, decision)
            return
        with self.journal.reading() as db:
            rows = db.execute(
                "SELECT id FROM incident WHERE state = 'pending' AND process ="
                " (SELECT process FROM incident WHERE id = ?)",
                (str(decision.incident),),
            ).fetchall()
        for (incident,) in rows:
            future = self._waiting.get(UUID(incident))
            if future and not future.done():
                future.set_result(decision)

    Kernel._obey = without_fencing  # type: ignore[method-assign]


def _no_compare() -> None:
    _take_without(compare=False)


def _take_without(*, compare: bool) -> None:
    take = Incidents.accept

    def careless(self: Incidents, decision: Decision, *, ends: bool = False) -> Receipt:
        has = self.decision(decision.incident)
        known = has is not None and has.decision_id == decision.decision_id
        if known is compare:
            # The protection that stays on handles it: a repeated decision, or a new one.
            return take(self, decision, ends=ends)
        with self._journal.transaction(durable=True) as db:
            found = db.execute(
                "UPDATE incident SET state = 'decided', decision = ? WHERE id = ?",
                (json_codec.encode_decision(decision), str(decision.incident)),
            ).rowcount
        if found and ends:
            self.end(decision.incident, OutcomeState.APPLIED)
        return Receipt.NEW if found else Receipt.UNKNOWN

    Incidents.accept = careless  # type: ignore[method-assign]


def _no_once() -> None:
    take = Requeues.accept

    def again(self: Requeues, command: Requeue) -> bool:
        with self._journal.transaction(durable=True) as db:
            db.execute("DELETE FROM requeue WHERE state = 'ended' AND id = ?", (str(command.id),))
        return take(self, command)

    Requeues.accept = again  # type: ignore[method-assign]


def _no_uses() -> None:
    from errorkernel.store.rules import evaluation

    evaluation.count_use = lambda match, now: True


def _no_outbox() -> None:
    from errorkernel.store.incidents import outbox

    due = outbox.due

    def fresh(*, now: datetime, limit: int = 200) -> list[Any]:
        since = now - timedelta(seconds=_OUTBOX_TRIES_S)
        return [row for row in due(now=now, limit=limit) if row.attempts == 0 and row.created_at > since]

    outbox.due = fresh
    outbox.hurry = lambda: None


def _no_guard() -> None:
    from errorkernel.domain.incident_state import State
    from errorkernel.models import Incident
    from errorkernel.store.incidents import decisions

    win = decisions._win

    def any_state(incident_id: UUID) -> bool:
        known = Incident.objects.get(pk=incident_id)
        if known.state in (State.OPEN.value, State.WITHDRAWN.value):
            return win(incident_id)
        known.decision.delete()
        return True

    decisions._win = any_state
