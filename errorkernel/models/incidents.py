"""Incidents, their one answer, and what became of the message that failed."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from errorkernel.domain import incident_state
from errorkernel.domain.rule_policy import is_poison
from errorkernel.domain.values import Action, Level, OnDeadline
from errorkernel.models.events import Problem
from errorkernel.models.fields import choices, in_choices
from errorkernel.models.nodes import Node, Process
from errorkernel.models.rules import Rule


class Incident(models.Model):
    """The open incident of an ``action`` event: one blocked process waiting for one answer.

    It keeps what it needs of its event, so that it outlives the event's retention.
    """

    id = models.UUIDField(primary_key=True)
    seq = models.BigIntegerField(help_text="seq of the event that raised it.")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="incidents")
    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="incidents")
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="incidents")
    incarnation = models.BigIntegerField(null=True, blank=True)
    level = models.CharField(max_length=8, choices=choices(Level))
    kind = models.CharField(max_length=200, blank=True)
    text = models.TextField()
    message = models.JSONField(null=True, blank=True)
    repeat = models.BigIntegerField(default=1, help_text="How often this process had met this problem by then.")
    consecutive = models.BigIntegerField(default=0, help_text="How often in a row on this same message.")
    state = models.CharField(
        max_length=12, choices=choices(incident_state.State), default=incident_state.State.OPEN.value
    )
    change = models.BigIntegerField(default=0, help_text="Number of its last change, from the counter of all changes.")
    raised_at = models.DateTimeField(help_text="When the process blocked, by the node's clock.")
    opened_at = models.DateTimeField(help_text="When we stored it.")
    deadline_at = models.DateTimeField(null=True, blank=True)
    on_deadline = models.CharField(
        "answer at deadline", max_length=8, choices=choices(OnDeadline), default=OnDeadline.ESCALATE.value
    )
    escalated_at = models.DateTimeField(null=True, blank=True)
    node_missing = models.CharField(
        max_length=5, blank=True, help_text="late or gone while it waits: its node has not said heartbeat."
    )
    rules_evaluated = models.BooleanField(default=False, help_text="The rules have been asked about it.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome_detail = models.TextField(blank=True)
    by_itself = models.CharField(
        max_length=8, blank=True, choices=choices(Action), help_text="What its node answered while it was isolated."
    )
    new_incarnation = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-opened_at"]
        permissions = [("decide_incident", "Can decide incidents")]
        constraints = [
            models.CheckConstraint(condition=in_choices("state", incident_state.State), name="incident_state"),
            models.CheckConstraint(condition=in_choices("on_deadline", OnDeadline), name="incident_on_deadline"),
        ]
        indexes = [
            models.Index(fields=["opened_at"], condition=Q(state="open"), name="incident_open"),
            models.Index(
                fields=["deadline_at"], condition=Q(state="open", deadline_at__isnull=False), name="incident_deadline"
            ),
            models.Index(fields=["state", "-opened_at"], name="incident_state_opened"),
            models.Index(fields=["-opened_at", "-id"], name="incident_opened"),
            models.Index(fields=["-ended_at"], name="incident_ended"),
            models.Index(fields=["change"], name="incident_change"),
            models.Index(fields=["seq"], name="incident_seq"),
            models.Index(fields=["process", "seq"], name="incident_process_seq"),
            models.Index(fields=["process", "problem", "seq"], name="incident_asked_again"),
            # Without the state: SQLite uses a partial index only where no parameter stands in its condition.
            models.Index(fields=["seq"], condition=Q(rules_evaluated=False), name="incident_unevaluated"),
        ]

    def __str__(self) -> str:
        return f"{self.process}: {self.text[:80]}"

    @property
    def is_poison(self) -> bool:
        """Its process had failed on this message so often in a row that the message is kept as a dead letter."""
        return is_poison(self.consecutive)


class Decision(models.Model):
    """The one answer to an incident; the database allows no second."""

    id = models.UUIDField(primary_key=True)
    incident = models.OneToOneField(Incident, on_delete=models.CASCADE, related_name="decision")
    action = models.CharField(max_length=8, choices=choices(Action))
    actor = models.CharField(max_length=200, help_text="user:<name>, rule:<id> or deadline.")
    rule = models.ForeignKey(
        Rule, null=True, blank=True, on_delete=models.PROTECT, related_name="decisions", db_index=False
    )
    rule_revision = models.IntegerField(null=True, blank=True, help_text="Revision of the rule that answered.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=100, blank=True, help_text="Repeating a request with it changes nothing.")
    decided_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When the broker had it.")

    class Meta:
        ordering = ["-decided_at"]
        constraints = [models.CheckConstraint(condition=in_choices("action", Action), name="decision_action")]
        indexes = [
            models.Index(fields=["rule", "-decided_at"], condition=Q(rule__isnull=False), name="decision_rule_at"),
            models.Index(fields=["-decided_at"], name="decision_decided_at"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor}"


class Requeue(models.Model):
    """What an operator did with a message that failed, and what became of it.

    ``sent`` to its process again from the operator's word on (``sent_at``: when the broker had it), ``received`` once
    the node has it in its journal; the node's outcome ends it. ``dropped``: an operator decided that it is not wanted
    any more; ``kept``: as a dead letter. Of an incident, of a dead letter that no incident was asked about, or of both.
    """

    class State(models.TextChoices):
        SENT = "sent"
        RECEIVED = "received"
        APPLIED = "applied"
        FAILED = "failed"
        DROPPED = "dropped"
        KEPT = "kept"

    UNDER_WAY = (State.SENT, State.RECEIVED)
    NEVER_SENT = (State.DROPPED, State.KEPT)

    id = models.UUIDField(primary_key=True)
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.CASCADE, related_name="requeues", db_index=False
    )
    dead_letter = models.ForeignKey(
        "DeadLetter", null=True, blank=True, on_delete=models.CASCADE, related_name="requeues",
        help_text="The dead letter that the message was then.",
    )  # fmt: skip
    state = models.CharField(max_length=8, choices=State.choices, default=State.SENT)
    actor = models.CharField(max_length=200, help_text="user:<name>.")
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=100, blank=True, help_text="Repeating a request with it changes nothing.")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    detail = models.TextField(blank=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=["sent", "received", "applied", "failed", "dropped", "kept"]),
                name="requeue_state",
            ),
            models.CheckConstraint(
                condition=Q(incident__isnull=False) | Q(dead_letter__isnull=False), name="requeue_of_something"
            ),
            # One at a time: the process must not get the same message twice because two people were quick.
            models.UniqueConstraint(
                fields=["incident"], condition=Q(state__in=["sent", "received"]), name="requeue_one_under_way"
            ),
            models.UniqueConstraint(
                fields=["dead_letter"], condition=Q(state__in=["sent", "received"]), name="requeue_one_of_letter"
            ),
        ]
        indexes = [models.Index(fields=["incident", "created_at"], name="requeue_incident")]

    def __str__(self) -> str:
        return f"requeue of {self.incident_id or self.dead_letter_id}: {self.state}"


class DeadLetter(models.Model):
    """A message that is kept to be looked at: one process failed on it three times in a row for the same reason, or
    somebody kept it (``requeues``). One that was sent again and failed is kept again."""

    class State(models.TextChoices):
        KEPT = "kept"
        RESENT = "resent"
        DROPPED = "dropped"

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="dead_letters", db_index=False)
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="dead_letters")
    digest = models.CharField(max_length=64, help_text="Digest of the message: two with one digest are one message.")
    message = models.JSONField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.KEPT)
    failures = models.BigIntegerField(help_text="How often in a row the process had failed on it.")
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.SET_NULL, related_name="dead_letters",
        help_text="The latest incident about it, if it asked.",
    )  # fmt: skip
    seq = models.BigIntegerField(help_text="seq of the latest failure.")
    first_at = models.DateTimeField(help_text="When it became a dead letter.")
    last_at = models.DateTimeField(help_text="When it failed last.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["process", "problem", "digest"], condition=Q(state="kept"), name="dead_letter_kept_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.process}: failed {self.failures} times on one message"

    @property
    def waits_for_somebody(self) -> bool:
        """It is kept, not on its way to its process, and no process is asking about it."""
        if self.incident and not self.incident.ended_at:
            return False
        done = [requeue.state for requeue in self.requeues.all()]
        return self.state == self.State.KEPT and (not done or done[-1] not in Requeue.UNDER_WAY)
