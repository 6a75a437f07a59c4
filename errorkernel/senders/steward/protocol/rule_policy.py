"""When a rule may act on a process of a Steward or ctrl node, because of an error that this node reports.

Such an error is all words: which process it is of is a guess, when it happened is a clock without a zone. So a rule
acts only where it names the node, where the guess leaves no choice, and where the error is of now.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from errorkernel.domain.process_actions import ActionKind
from errorkernel.domain.rule_policy import IncidentFacts, Rule, RuleAction, RuleMatch

AGE_MAX_S = 300
"""An error that is older is nobody's reason any more: its process may long have recovered."""
LOOP_WINDOW_S = 3600
"""So long a rule's actions on one process count as one after the other."""
_PLANS = {RuleAction.KILL: ActionKind.KILL, RuleAction.STOP: ActionKind.STOP}
_NAMED_PROCESS = ("guessed_from_text", "named_in_text")
_DOUBTS = ("process_or", "part_of", "node_in_text", "about_node", "waited")
"""Tags that say: another process, another event, another node, or another time may be meant."""


def plan_of(action: RuleAction) -> ActionKind | None:
    """What a rule with this action does to the process; None: nothing."""
    return _PLANS.get(action)


def is_certain(tags: Mapping[str, str], relay_from_node: str) -> bool:
    """Whether an error says of one process of its sender, and of no other, that it failed, and says so in time."""
    return tags.get("process") in _NAMED_PROCESS and not relay_from_node and not any(tag in tags for tag in _DOUBTS)


def is_of_now(delay_s: float, delays_s: Iterable[float]) -> bool:
    """``delay_s``: from when the error happened, by its node's clock, to when we got it; ``delays_s``: of that node's
    errors around it. The clock may be hours off, but is always off by the same: who took much longer than the
    quickest of them was held back on the way."""
    return delay_s - min(delays_s, default=delay_s) <= AGE_MAX_S


def decide(rules: Iterable[Rule], error: IncidentFacts, now: datetime) -> RuleMatch | None:
    """The rule that has the word on ``error``: the first, in this order, that names its node and matches."""
    for rule in rules:
        named = error.node in rule.controlled_nodes and error.seq > rule.acts_after_seq
        if rule.enabled and named and not rule.is_over(now) and rule.matches(error):
            return RuleMatch(rule, held=rule.suspended)
    return None


def loop(actions: int, limit: int, process: str, node: str) -> str | None:
    """Why a rule that acted on this process so often within LOOP_WINDOW_S must stop; or None."""
    if actions < limit:
        return None
    return f"A loop: it acted on {process} of {node} {actions} times within an hour, and that failed again."
