"""A day of an operator with the client that openapi-python-client generates. ADDRESS, TOKEN: of the product."""

import json
import os

from pyclient import AuthenticatedClient
from pyclient.api.operators import add_rule, decide, disable_rule, list_events, list_incidents, mute_problem
from pyclient.models import (
    Action,
    Answer,
    DecidedByOther,
    ListEventsResponse200,
    ListIncidentsResponse200,
    ProblemItem,
    ProblemMute,
    RecordedDecision,
    RuleAction,
    RuleItem,
    RuleNeedsConfirmation,
    RuleReason,
    RuleRequest,
    SavedRule,
    State,
)

client = AuthenticatedClient(base_url=os.environ["ADDRESS"], token=os.environ["TOKEN"])

pending = list_incidents.sync(client=client, state=[State.OPEN])
assert isinstance(pending, ListIncidentsResponse200)
incident = pending.items[0]

decision = decide.sync(incident.id, client=client, body=Answer(action=Action.KILL, reason="It hangs."))
assert isinstance(decision, RecordedDecision)
late = decide.sync(incident.id, client=client, body=Answer(action=Action.CONTINUE))
assert isinstance(late, DecidedByOther), late

muted = mute_problem.sync(incident.problem, client=client, body=ProblemMute(more=100, reason="It is known."))
assert isinstance(muted, ProblemItem)

wanted = RuleRequest(name="all", condition="process:*", action=RuleAction.CONTINUE, reason="A test.", enabled=True)
refused = add_rule.sync(client=client, body=wanted)
assert isinstance(refused, RuleNeedsConfirmation), refused
wanted.confirm = refused.last_week.matched
rule = add_rule.sync(client=client, body=wanted)
assert isinstance(rule, SavedRule)
disabled = disable_rule.sync(rule.id, client=client, body=RuleReason(reason="Enough."))
assert isinstance(disabled, RuleItem)

seen, after = [], 0
while True:
    page = list_events.sync(client=client, after=after, limit=10)
    assert isinstance(page, ListEventsResponse200)
    seen += [event.seq for event in page.items]
    if page.next_ is None:
        break
    after = page.next_

print(
    json.dumps(
        {
            "pending": len(pending.items),
            "decided": decision.action,
            "winner": late.winner,
            "problem": muted.state,
            "matched": refused.last_week.matched,
            "enabled": [rule.enabled, disabled.enabled],
            "events": seen,
        }
    )
)
