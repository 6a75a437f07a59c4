"""Stores the outcomes of a reconciliation: one read for all of them, and a transaction for the new ones.

Nearly all of them are stored already, and other clients may send outcomes of unknown incidents. Neither may delay other
writers.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from errorkernel.domain import incident_state
from errorkernel.domain.incident_state import State
from errorkernel.domain.values import Outcome
from errorkernel.models import Incident, Requeue
from errorkernel.store.incidents import requeues
from errorkernel.store.ingest import batch
from errorkernel.store.ingest.batch import Batch
from errorkernel.store.ingest.name_cache import NameCache


def take_in(node: str, outcomes: Sequence[Outcome], *, now: datetime) -> tuple[list[UUID], list[UUID]]:
    """Store the outcomes of ``node``; returns the changed incidents, and those that are unknown here."""
    named = {outcome.incident for outcome in outcomes}
    incidents = dict(Incident.objects.filter(pk__in=named, node__name=node).values_list("pk", "state"))
    others = named - incidents.keys()
    commands = requeues.states(node, others) if others else {}
    news = [(node, outcome) for outcome in outcomes if _is_news(outcome, incidents, commands)]
    changed = batch.record(Batch(outcomes=news), NameCache(), now=now).changed if news else []
    return changed, [outcome for outcome in named if outcome not in incidents and outcome not in commands]


def _is_news(outcome: Outcome, incidents: Mapping[UUID, str], commands: Mapping[UUID, str]) -> bool:
    """Whether the outcome may change something; storing it decides that."""
    if state := incidents.get(outcome.incident):
        return incident_state.after(State(state), incident_state.step_of(outcome.state)) is not None
    return commands.get(outcome.incident) in Requeue.UNDER_WAY
