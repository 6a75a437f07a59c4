"""Rules, which decide incidents without a person."""

from django.db import models

from errorkernel.domain.rule_policy import LOOP_LIMIT, NAME_MAX_CHARS, STORM_LIMIT, RuleAction
from errorkernel.models.fields import choices, in_choices


class Rule(models.Model):
    """One rule: a condition and the action for matching incidents. The first match by ``position`` applies.

    A removed rule stays as a row, because its decisions refer to it.
    """

    name = models.CharField(max_length=NAME_MAX_CHARS)
    position = models.IntegerField()
    enabled = models.BooleanField(default=False)
    condition = models.TextField(help_text="A query over the fields of an incident.")
    action = models.CharField(max_length=8, choices=choices(RuleAction))
    reason = models.TextField(help_text="The reason of each of its decisions.")
    author = models.CharField(max_length=200, help_text="user:<name> of the present revision.")
    revision = models.IntegerField(default=1, help_text="Grows by one with every change.")
    after_seq = models.BigIntegerField(default=0, help_text="Incidents up to this number are older than the rule.")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    max_uses = models.IntegerField(null=True, blank=True)
    uses = models.IntegerField(default=0)
    last_used_at = models.DateTimeField(null=True, blank=True)
    storm_limit = models.IntegerField(default=STORM_LIMIT, help_text="More decisions within 60 s suspend it.")
    loop_limit = models.IntegerField(default=LOOP_LIMIT, help_text="More decisions in a row on one message suspend it.")
    controlled_nodes = models.JSONField(
        default=list, blank=True, help_text="Names of Steward/ctrl nodes on which it may act."
    )
    acts_after_seq = models.BigIntegerField(
        default=0, help_text="Errors of such nodes up to this number are older than its present revision."
    )
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_reason = models.TextField(blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.CheckConstraint(condition=in_choices("action", RuleAction), name="rule_action")]

    def __str__(self) -> str:
        return f"rule {self.pk} (revision {self.revision}): {self.name}"
