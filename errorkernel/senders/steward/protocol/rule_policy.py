"""Decides whether a rule may act on a process of a Steward/ctrl node after an error of this node.

Such an error is a text: its process is a guess, and its time has no time zone. So a rule acts only if it names the
node, if the process is unambiguous, and if the error is recent.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from errorkernel.domain.process_actions import ActionKind
from errorkernel.domain.rule_policy import IncidentFacts, Rule, RuleAction, RuleMatch

AGE_MAX_S = 300
"""Maximum age of an error; the process may have recovered since."""
LOOP_WINDOW_S = 3600
"""Period within which a rule's actions on one process count as consecutive."""
_PLANS = {RuleAction.KILL: ActionKind.KILL, RuleAction.STOP: ActionKind.STOP}
_NAMED_PROCESS = ("guessed_from_text", "named_in_text")
_DOUBTS = ("process_or", "part_of", "node_in_text", "about_node", "waited")
"""Tags of errors whose process, event, node or time is uncertain."""


def plan_of(action: RuleAction) -> ActionKind | None:
    """The action of a rule on the process; None for none."""
    return _PLANS.get(action)


def is_certain(tags: Mapping[str, str], relay_from_node: str) -> bool:
    """Whether an error reports the failure of exactly one process of its sender, without delay."""
    return tags.get("process") in _NAMED_PROCESS and not relay_from_node and not any(tag in tags for tag in _DOUBTS)


def is_of_now(delay_s: float, delays_s: Iterable[float]) -> bool:
    """``delay_s``: from when the error happened, by its node's clock, to when we got it; ``delays_s``: of that node's
    errors around it. The clock may be wrong by hours, but by a constant: an error with a much larger delay than the
    smallest was held back."""
    return delay_s - min(delays_s, default=delay_s) <= AGE_MAX_S


def decide(rules: Iterable[Rule], error: IncidentFacts, now: datetime) -> RuleMatch | None:
    """The rule for ``error``: the first in this order that names its node and matches."""
    for rule in rules:
        named = error.node in rule.controlled_nodes and error.seq > rule.acts_after_seq
        if rule.enabled and named and not rule.is_over(now) and rule.matches(error):
            return RuleMatch(rule, held=rule.suspended)
    return None


def loop(actions: int, limit: int, process: str, node: str) -> str | None:
    """Why a rule with so many actions on this process within LOOP_WINDOW_S must be suspended; or None."""
    if actions < limit:
        return None
    return f"A loop: it acted on {process} of {node} {actions} times within an hour, and that failed again."
