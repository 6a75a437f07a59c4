"""Fills the form of a rule; invalid input stays in the form. (``web.operations.rule_forms`` reads it.)"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from errorkernel.domain import rule_policy
from errorkernel.domain.query.tree import And, Compare, Not, Or, Tree
from errorkernel.domain.rule_policy import RuleAction, RuleError
from errorkernel.models import Incident, Node, Problem, Rule

FIELDS = ("name", "condition", "action", "reason", "expires_at", "max_uses", "storm_limit", "loop_limit", "since")
FORM_FIELDS = (*FIELDS, "controlled_nodes", "also_waiting", "revision", "rule", "enabled", "confirm", "all")
SINCE_DAYS = {
    "1": gettext_lazy("day"),
    "7": gettext_lazy("7 days"),
    "30": gettext_lazy("30 days"),
    "365": gettext_lazy("year"),
}
CONTROLLED_NODES_SHOWN = 500
PROBLEMS_SHOWN = 20


def days_of(given: Mapping[str, str]) -> int:
    """The period of a dry run."""
    days = given.get("since", "")
    return int(days if days in SINCE_DAYS else "7")


def since(given: Mapping[str, str], now: datetime) -> datetime:
    """The beginning of the period of a dry run."""
    return now - timedelta(days=days_of(given))


def typed(given: QueryDict) -> dict[str, Any]:
    """The values of the form as sent."""
    fields: dict[str, Any] = {name: given.get(name, "") for name in FIELDS}
    return fields | {"controlled_nodes": given.getlist("controlled_nodes")}


def controlled_nodes(form: Mapping[str, Any]) -> list[str]:
    """The selectable nodes: those of the rule, and the first CONTROLLED_NODES_SHOWN others."""
    known = Node.objects.exclude(family="").order_by("name").values_list("name", flat=True)
    return sorted({*form.get("controlled_nodes", ()), *known[:CONTROLLED_NODES_SHOWN]})


def named_problems(form: Mapping[str, Any]) -> list[tuple[int, Problem | None]]:
    """The problems whose numbers are in the condition, each with its row if it exists."""
    try:
        numbers = dict.fromkeys(_problems_in(rule_policy.parse_condition(form.get("condition", ""))))
    except RuleError:
        return []
    shown = list(numbers)[:PROBLEMS_SHOWN]
    known = Problem.objects.in_bulk(shown)
    return [(number, known.get(number)) for number in shown]


def _problems_in(tree: Tree) -> Iterator[int]:
    match tree:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from _problems_in(part)
        case Not(part=part):
            yield from _problems_in(part)
        case Compare(field="problem", value=value):
            yield value


def filled(rule: Rule) -> dict[str, Any]:
    """The form of an existing rule."""
    text = {name: getattr(rule, name) for name in ("name", "condition", "action", "reason")}
    return text | {
        "expires_at": rule.expires_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if rule.expires_at else "",
        "max_uses": rule.max_uses or "",
        "storm_limit": rule.storm_limit,
        "loop_limit": rule.loop_limit,
        "controlled_nodes": rule.controlled_nodes,
        "since": "7",
    }


def blank(now: datetime) -> dict[str, Any]:
    """A new rule ends by itself, unless somebody empties the fields."""
    ends = now + timedelta(seconds=rule_policy.SUGGESTED_LIFETIME_S)
    return {
        "action": RuleAction.ASK.value,
        "expires_at": ends.astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        "max_uses": rule_policy.SUGGESTED_USES,
        "storm_limit": rule_policy.STORM_LIMIT,
        "loop_limit": rule_policy.LOOP_LIMIT,
        "since": "7",
    }


def remembered(incident: Incident, now: datetime) -> dict[str, Any]:
    """The proposal of *Create rule from this…*: the same process, problem and decision."""
    decision = getattr(incident, "decision", None)
    name = _("{process} on {node}").format(process=incident.process.name, node=incident.node.name)
    return blank(now) | {
        "name": name[: rule_policy.NAME_MAX_CHARS],
        "condition": rule_policy.remembered(incident.node.name, incident.process.name, incident.problem_id),
        "action": decision.action if decision else RuleAction.CONTINUE.value,
        "reason": decision.reason if decision else "",
    }
