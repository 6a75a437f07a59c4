"""Incidents, their decisions, dead letters and requeues."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from errorkernel.domain import incident_state
from errorkernel.domain.releases import RELEASE_MAX_CHARS
from errorkernel.domain.rule_policy import is_poison
from errorkernel.domain.values import Action, Level, OnDeadline
from errorkernel.models.events import Problem
from errorkernel.models.fields import choices, in_choices
from errorkernel.models.nodes import Node, Process
from errorkernel.models.rules import Rule


class Incident(models.Model):
    """The incident of an ``action`` event: one blocked process that waits for one decision.

    It copies the fields that it needs from its event, because it is kept longer.
    """

    id = models.UUIDField(primary_key=True)
    seq = models.BigIntegerField(help_text="seq of its event.")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="incidents")
    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="incidents")
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="incidents", db_index=False)
    incarnation = models.BigIntegerField(null=True, blank=True)
    level = models.CharField(max_length=8, choices=choices(Level))
    kind = models.CharField(max_length=200, blank=True)
    text = models.TextField()
    message = models.JSONField(null=True, blank=True)
    repeat = models.BigIntegerField(default=1, help_text="Number of its event among those of its process and problem.")
    consecutive = models.BigIntegerField(default=0, help_text="Number of consecutive failures on this message.")
    state = models.CharField(
        max_length=12, choices=choices(incident_state.State), default=incident_state.State.OPEN.value
    )
    release = models.CharField(max_length=RELEASE_MAX_CHARS, blank=True, help_text="Release of its process.")
    change = models.BigIntegerField(default=0, help_text="Number of its last change, from the counter of all changes.")
    raised_at = models.DateTimeField(help_text="When the process blocked, by the node's clock.")
    opened_at = models.DateTimeField(help_text="When the server stored it.")
    deadline_at = models.DateTimeField(null=True, blank=True)
    on_deadline = models.CharField(
        "decision at deadline", max_length=8, choices=choices(OnDeadline), default=OnDeadline.ESCALATE.value
    )
    escalated_at = models.DateTimeField(null=True, blank=True)
    node_missing = models.CharField(
        max_length=5, blank=True, help_text="late or gone while it is pending: its node misses heartbeats."
    )
    taken_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False,
        help_text="Who looks into it, until taken_until.",
    )  # fmt: skip
    taken_until = models.DateTimeField(null=True, blank=True)
    rules_evaluated = models.BooleanField(default=False, help_text="Whether the rules were evaluated on it.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome_detail = models.TextField(blank=True)
    by_itself = models.CharField(
        max_length=8,
        blank=True,
        choices=choices(Action),
        help_text="Decision of its node during isolation.",
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
            # All that the triage counts, so that it reads no rows; with the state, which SQLite compares all the same.
            models.Index(
                fields=["problem", "opened_at", "level", "node", "process", "release", "deadline_at", "state"],
                condition=Q(state="open"),
                name="incident_triage",
            ),
            models.Index(
                fields=["taken_until"], condition=Q(state="open", taken_until__isnull=False), name="incident_taken"
            ),
            models.Index(
                fields=["deadline_at"], condition=Q(state="open", deadline_at__isnull=False), name="incident_deadline"
            ),
            models.Index(fields=["state", "-opened_at"], name="incident_state_opened"),
            models.Index(fields=["-opened_at", "-id"], name="incident_opened"),
            models.Index(fields=["-ended_at"], name="incident_ended"),
            # What came of the latest decisions on a problem.
            models.Index(fields=["problem", "-ended_at"], name="incident_problem_ended"),
            models.Index(fields=["change"], name="incident_change"),
            models.Index(fields=["seq"], name="incident_seq"),
            models.Index(fields=["process", "seq"], name="incident_process_seq"),
            models.Index(fields=["process", "problem", "seq"], name="incident_asked_again"),
            # Without the state: SQLite uses a partial index only if its condition has no parameter.
            models.Index(fields=["seq"], condition=Q(rules_evaluated=False), name="incident_unevaluated"),
        ]

    def __str__(self) -> str:
        return f"{self.process}: {self.text[:80]}"

    @property
    def is_poison(self) -> bool:
        """Whether its process has failed on this message so often in a row that the message is kept as a dead
        letter."""
        return is_poison(self.consecutive)


class Decision(models.Model):
    """The only decision on an incident; the database allows no second."""

    id = models.UUIDField(primary_key=True)
    incident = models.OneToOneField(Incident, on_delete=models.CASCADE, related_name="decision")
    action = models.CharField(max_length=8, choices=choices(Action))
    actor = models.CharField(max_length=200, help_text="user:<name>, rule:<id> or deadline.")
    rule = models.ForeignKey(
        Rule, null=True, blank=True, on_delete=models.PROTECT, related_name="decisions", db_index=False
    )
    rule_revision = models.IntegerField(null=True, blank=True, help_text="Revision of the rule that decided.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    approved_by = models.CharField(
        max_length=200, blank=True, help_text="user:<name>: the second person, where one approved it."
    )
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=100, blank=True, help_text="Repeating a request with it changes nothing.")
    decided_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When the broker stored it.")

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
    """An operator's action on a message that failed, and its result.

    ``sent`` from the operator's request on (``sent_at``: when the broker stored it), ``received`` once the node has it
    in its journal; the node's outcome ends it. ``dropped``: the operator discarded the message; ``kept``: as a dead
    letter. It belongs to an incident, to a dead letter without one, or to both.
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
        help_text="The dead letter of the message at that time.",
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
            # One at a time: two simultaneous requests must not send the same message twice.
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
    """A message that is kept for an operator: one process failed on it three times in a row for the same reason, or
    an operator kept it (``requeues``). A message that was sent again and failed is kept again."""

    class State(models.TextChoices):
        KEPT = "kept"
        RESENT = "resent"
        DROPPED = "dropped"

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="dead_letters", db_index=False)
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="dead_letters")
    digest = models.CharField(max_length=64, help_text="Digest of the message, equal for equal messages.")
    message = models.JSONField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.KEPT)
    failures = models.BigIntegerField(help_text="Number of consecutive failures of the process on it.")
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.SET_NULL, related_name="dead_letters",
        help_text="The latest incident about it, if there is one.",
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
        """Whether it is kept, not being sent again, and without a pending incident."""
        if self.incident and not self.incident.ended_at:
            return False
        done = [requeue.state for requeue in self.requeues.all()]
        return self.state == self.State.KEPT and (not done or done[-1] not in Requeue.UNDER_WAY)
