"""Bulk decisions: proposal, approval, and the result for each incident."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from errorkernel.domain.values import Action
from errorkernel.models.events import Problem
from errorkernel.models.fields import choices, in_choices
from errorkernel.models.incidents import Incident


class BulkDecision(models.Model):
    """One decision for the incidents that a filter found when it was proposed; it never includes later incidents.

    ``canary``: one of them has been decided first; the rest may follow once it has done well.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed"
        CANARY = "canary"
        APPLYING = "applying"
        DONE = "done"
        REJECTED = "rejected"
        EXPIRED = "expired"

    UNDER_WAY = (State.CANARY, State.APPLYING)

    problem = models.ForeignKey(
        Problem, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="The one problem of all of its incidents; empty for several.",
    )  # fmt: skip
    query = models.TextField(help_text="The filter that found the incidents.")
    action = models.CharField(max_length=8, choices=choices(Action))
    reason = models.TextField(help_text="The reason of each decision.")
    actor = models.CharField(max_length=200, help_text="user:<name> who proposed it, and the actor of each decision.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    origin = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PROPOSED)
    count = models.IntegerField(help_text="Number of incidents.")
    needs_approval = models.BooleanField(default=False, help_text="A person other than the proposer must approve it.")
    approved_by = models.CharField(max_length=200, blank=True, help_text="user:<name>: the second person.")
    canary = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="The incident that is decided first and watched.",
    )  # fmt: skip
    then_rest = models.BooleanField(
        default=False, help_text="The kernel applies it to the others by itself once the canary has done well."
    )
    held = models.CharField(
        max_length=24, blank=True, help_text="Why the kernel did not apply it to the others; they stay pending."
    )
    held_at = models.DateTimeField(null=True, blank=True)
    proposed_at = models.DateTimeField()
    expires_at = models.DateTimeField(help_text="Until when it can be approved.")
    approved_at = models.DateTimeField(null=True, blank=True)
    watch_s = models.IntegerField(
        null=True, blank=True, help_text="Seconds for which the canary is watched after it was applied."
    )
    ended_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(
        null=True, blank=True, help_text="When its proposer closed the note that it expired."
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=in_choices("action", Action), name="bulk_action"),
            models.CheckConstraint(
                condition=Q(state__in=["proposed", "canary", "applying", "done", "rejected", "expired"]),
                name="bulk_state",
            ),
        ]
        indexes = [models.Index(fields=["state", "id"], name="bulk_state_id")]

    def __str__(self) -> str:
        return f"{self.action} to {self.count} incidents by {self.actor}: {self.state}"


class BulkDecisionItem(models.Model):
    """One incident of a bulk decision; ``already_decided`` by somebody else, or ``withdrawn`` by its node."""

    class Result(models.TextChoices):
        PENDING = "pending"
        DECIDED = "decided"
        ALREADY_DECIDED = "already_decided"
        WITHDRAWN = "withdrawn"

    bulk = models.ForeignKey(BulkDecision, on_delete=models.CASCADE, related_name="items", db_index=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="+", db_index=False)
    result = models.CharField(max_length=15, choices=Result.choices, default=Result.PENDING)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["bulk", "incident"], name="bulk_item_once"),
            models.CheckConstraint(
                condition=Q(result__in=["pending", "decided", "already_decided", "withdrawn"]), name="bulk_item_result"
            ),
        ]
        indexes = [
            models.Index(fields=["bulk", "result", "id"], name="bulk_item_by_result"),
            models.Index(fields=["incident"], name="bulk_item_incident"),
        ]

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.result}"
