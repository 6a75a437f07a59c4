"""What a node's sync says that it has done, some items at a time: one look for all of them, and a transaction for news.

Nearly all of it is known already, and much of what other clients send may never have been asked: neither may hold up
who else would write.
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
    """Returns the incidents that these outcomes of ``node`` changed, and those of which nothing is known here."""
    named = {outcome.incident for outcome in outcomes}
    incidents = dict(Incident.objects.filter(pk__in=named, node__name=node).values_list("pk", "state"))
    others = named - incidents.keys()
    commands = requeues.states(node, others) if others else {}
    news = [(node, outcome) for outcome in outcomes if _is_news(outcome, incidents, commands)]
    changed = batch.record(Batch(outcomes=news), NameCache(), now=now).changed if news else []
    return changed, [outcome for outcome in named if outcome not in incidents and outcome not in commands]


def _is_news(outcome: Outcome, incidents: Mapping[UUID, str], commands: Mapping[UUID, str]) -> bool:
    """It may change something: what it does change is decided where it is recorded."""
    if state := incidents.get(outcome.incident):
        return incident_state.after(State(state), incident_state.step_of(outcome.state)) is not None
    return commands.get(outcome.incident) in Requeue.UNDER_WAY
