"""The rules of a scratch instance, and the user who changes them during the run.

The method of an incident's message names the rule for it; most name none.
"""

from typing import Any

from errorkernel.domain.rule_policy import RuleAction, RuleDefinition
from errorkernel.ops.chaos.api_user import ApiUser

_MANY = 100_000
_RULES: dict[str, tuple[RuleAction, int | None, int]] = {
    "goon": (RuleAction.CONTINUE, None, _MANY),
    "end": (RuleAction.KILL, None, _MANY),
    "few": (RuleAction.CONTINUE, 5, _MANY),
    "storm": (RuleAction.CONTINUE, None, 3),
    "above": (RuleAction.ESCALATE, None, _MANY),
}
"""Method → action, maximum number of uses, and storm limit a minute."""
METHODS = ("none",) * 6 + tuple(_RULES)


def rule_definitions() -> list[RuleDefinition]:
    """The rules, in their order."""
    return [
        RuleDefinition(
            name=method,
            condition=f"method:{method}",
            action=action,
            reason=f"chaos: {method}",
            enabled=True,
            max_uses=most,
            storm_limit=storm,
            loop_limit=_MANY,
        )
        for method, (action, most, storm) in _RULES.items()
    ]


class RuleEditor(ApiUser):
    """Suspends rules, resumes them and saves new revisions, each time also for pending incidents."""

    pause_range_s = (0.3, 1.5)

    @property
    def unanswered(self) -> int:
        return 0  # whether it was done makes no difference to anybody

    def step(self, quiet: bool) -> None:
        if quiet:
            return
        rules = self.items("/api/v1/rules")
        if not rules:
            return
        rule = self.dice.choice(rules)
        change = "resume" if rule["suspended_at"] else self.dice.choice(("suspend", "change", "move"))
        if change == "change":
            written = {name: rule[name] for name in ("name", "condition", "action", "reason", "enabled", "revision")}
            limits = {name: rule[name] for name in ("max_uses", "storm_limit", "loop_limit")}
            got = self._confirmed(f"/api/v1/rules/{rule['id']}", {**written, **limits, "also_waiting": True}, "PUT")
        else:
            reason = {"reason": f"{self.name}: test"}
            bodies: dict[str, dict[str, Any]] = {
                "suspend": reason,
                "resume": {**reason, "also_waiting": True},
                "move": {"steps": 1},
            }
            got = self._confirmed(f"/api/v1/rules/{rule['id']}/{change}", bodies[change], "POST")
        if got and got[0] not in (200, 409):
            self.unexpected.append(f"{self.name} received {got[0]} {got[1]} for rule {rule['id']}")

    def _confirmed(self, path: str, body: dict[str, Any], method: str) -> tuple[int, Any] | None:
        """Sent again with the number of incidents that the rule matches, if that is asked for."""
        got = self.call(path, body, method)
        if got and got[0] == 409 and got[1].get("code") == "confirmation_needed":
            return self.call(path, {**body, "confirm": got[1]["last_week"]["matched"]}, method)
        return got
