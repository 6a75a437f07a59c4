"""One answer to many questions: what was proposed, who confirmed it, and what became of each."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from errorkernel.domain.values import Action
from errorkernel.models.fields import choices, one_of
from errorkernel.models.incidents import Incident


class BulkAnswer(models.Model):
    """An answer to the questions that a filter found when it was proposed; what opens later is not among them.

    ``watching``: one of them, the canary, has been answered; the rest may follow once it has done well.
    """

    class State(models.TextChoices):
        PROPOSED = "proposed"
        WATCHING = "watching"
        ANSWERING = "answering"
        DONE = "done"
        LEFT = "left"

    UNDER_WAY = (State.WATCHING, State.ANSWERING)

    query = models.TextField(help_text="The filter that found them.")
    action = models.CharField(max_length=8, choices=choices(Action))
    reason = models.TextField(help_text="Goes with every answer.")
    by = models.CharField(max_length=200, help_text="user:<name>: who proposed it, and in whose name it is answered.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    origin = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=9, choices=State.choices, default=State.PROPOSED)
    count = models.IntegerField(help_text="How many questions it is about.")
    needs_second = models.BooleanField(default=False, help_text="Somebody else than the proposer has to confirm it.")
    second_by = models.CharField(max_length=200, blank=True, help_text="user:<name>: who confirmed it.")
    canary = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="The question that is answered first, and watched.",
    )  # fmt: skip
    proposed_at = models.DateTimeField()
    expires_at = models.DateTimeField(help_text="After this nobody can confirm it any more.")
    confirmed_at = models.DateTimeField(null=True, blank=True)
    watch_s = models.IntegerField(
        null=True, blank=True, help_text="How long the first one is watched, in seconds, once it was carried out."
    )
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=one_of("action", Action), name="bulk_action"),
            models.CheckConstraint(
                condition=Q(state__in=["proposed", "watching", "answering", "done", "left"]), name="bulk_state"
            ),
        ]
        indexes = [models.Index(fields=["state", "id"], name="bulk_state_id")]

    def __str__(self) -> str:
        return f"{self.action} to {self.count} questions by {self.by}: {self.state}"


class BulkItem(models.Model):
    """One question of a bulk answer. ``lost``: somebody else was first; ``gone``: nobody asked any more."""

    class Result(models.TextChoices):
        PENDING = "pending"
        WON = "won"
        LOST = "lost"
        GONE = "gone"

    bulk = models.ForeignKey(BulkAnswer, on_delete=models.CASCADE, related_name="items", db_index=False)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="+", db_index=False)
    result = models.CharField(max_length=7, choices=Result.choices, default=Result.PENDING)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["bulk", "incident"], name="bulk_item_once"),
            models.CheckConstraint(condition=Q(result__in=["pending", "won", "lost", "gone"]), name="bulk_item_result"),
        ]
        indexes = [
            models.Index(fields=["bulk", "result", "id"], name="bulk_item_by_result"),
            models.Index(fields=["incident"], name="bulk_item_incident"),
        ]

    def __str__(self) -> str:
        return f"{self.incident_id}: {self.result}"
