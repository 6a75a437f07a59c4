"""Events, grouped into problems and counted per process, and rejected events."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from errorkernel.domain.problem_state import ProblemState
from errorkernel.domain.releases import RELEASE_MAX_CHARS
from errorkernel.domain.values import EventType, Level
from errorkernel.models.fields import Sequence, choices, in_choices
from errorkernel.models.nodes import Node, Process


class Problem(models.Model):
    """All error states with one fingerprint, fleet-wide; and, with its parts, those of the problems merged into it.

    Events, states and incidents stay with the problem of their own fingerprint, so that a merge can be taken back.
    ``count``, ``nodes``, ``level``, ``first_seen`` and ``last_seen`` of a problem with parts are those of all together.
    """

    fingerprint = models.CharField(max_length=32, unique=True)
    kind = models.CharField(max_length=200, blank=True)
    title = models.TextField()
    why = models.TextField(help_text="Why its events are counted as the same.")
    level = models.CharField(max_length=8, choices=choices(Level))
    level_rank = models.SmallIntegerField()
    count = models.BigIntegerField(default=0)
    nodes = models.IntegerField(default=0, help_text="Number of nodes on which it occurred.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    state = models.CharField(max_length=8, choices=choices(ProblemState), default=ProblemState.OPEN.value)
    state_at = models.DateTimeField(null=True, blank=True)
    state_actor = models.CharField(max_length=200, blank=True, help_text="user:<name>, or system (automatic).")
    state_reason = models.TextField(blank=True)
    muted_until = models.DateTimeField(null=True, blank=True)
    muted_until_count = models.BigIntegerField(null=True, blank=True, help_text="The count at which the mute ends.")
    muted_releases = models.JSONField(
        null=True,
        blank=True,
        help_text="Releases in which it had occurred when it was muted.",
    )
    resolved_count = models.BigIntegerField(null=True, blank=True, help_text="Its count when it was last resolved.")
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    taken_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", db_index=False,
        help_text="Who looks into all of its pending incidents, until taken_until.",
    )  # fmt: skip
    taken_until = models.DateTimeField(null=True, blank=True)
    first_node = models.ForeignKey(
        Node, null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="Whose event created it."
    )
    merged_into = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="parts",
        help_text="Never a part itself.",
    )

    class Meta:
        ordering = ["-last_seen"]
        constraints = [
            models.CheckConstraint(condition=in_choices("level", Level), name="problem_level"),
            models.CheckConstraint(condition=in_choices("state", ProblemState), name="problem_state"),
        ]
        indexes = [
            models.Index(fields=["-last_seen"], name="problem_last_seen"),
            models.Index(fields=["-count"], name="problem_count"),
            models.Index(fields=["muted_until"], condition=Q(muted_until__isnull=False), name="problem_muted_until"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.title}"[:120] if self.kind else self.title[:120]

    @property
    def since_resolved(self) -> int | None:
        """The number of events since it was last resolved; None if it never was."""
        return None if self.resolved_count is None else self.count - self.resolved_count


class ErrorState(models.Model):
    """How often one problem occurred in one process. ``consecutive``: failures on the same message, without another
    failure in between."""

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="error_states")
    node = models.ForeignKey(
        Node, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False,
        help_text="Node of the process: a node's latest states are read from one index.",
    )  # fmt: skip
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="error_states")
    count = models.BigIntegerField(default=0)
    consecutive = models.BigIntegerField(default=0)
    last_message = models.CharField(max_length=64, blank=True, help_text="Digest of the message of its last event.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    last_seq = models.BigIntegerField(default=0)
    release = models.CharField(max_length=RELEASE_MAX_CHARS, blank=True, help_text="Of its last event.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["process", "problem"], name="error_state_unique")]
        indexes = [
            models.Index(fields=["problem", "-last_seen"], name="error_state_problem"),
            models.Index(fields=["node", "-last_seen"], name="error_state_node"),
        ]

    def __str__(self) -> str:
        return f"{self.process}: {self.problem} ×{self.count}"


class ErrorEvent(models.Model):
    """One event, as it was reported. ``seq`` is gap-free and in commit order: browsers resume from it."""

    seq = Sequence(primary_key=True)
    id = models.UUIDField(help_text="Given by its node, so it is unique per node.")
    type = models.CharField(max_length=8, choices=choices(EventType))
    level = models.CharField(max_length=8, choices=choices(Level))
    level_rank = models.SmallIntegerField()
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="error_events", db_index=False)
    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="error_events", db_index=False)
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="error_events", db_index=False)
    process_name = models.CharField(
        max_length=200, blank=True, help_text="As the node reported it, where its process is the folded one."
    )
    incarnation = models.BigIntegerField(null=True, blank=True)
    kind = models.CharField(max_length=200, blank=True)
    text = models.TextField()
    stack = models.TextField(blank=True)
    message = models.JSONField(null=True, blank=True)
    relay_from_node = models.CharField(max_length=200, blank=True)
    tags = models.JSONField(default=dict, blank=True)
    release = models.CharField(  # noqa: DJ001 - NULL keeps events without a release out of the index
        max_length=RELEASE_MAX_CHARS, null=True, blank=True, help_text="The tag release; NULL without one."
    )
    cut = models.CharField(max_length=200, blank=True, help_text="Fields that were truncated to their limit.")
    repeat = models.BigIntegerField(default=1, help_text="Number of this event among those of its process and problem.")
    occurred_at = models.DateTimeField(null=True, blank=True, help_text="By the node's clock.")
    received_at = models.DateTimeField(help_text="By the server's clock.")

    class Meta:
        ordering = ["-seq"]
        constraints = [
            models.CheckConstraint(condition=in_choices("type", EventType), name="event_type"),
            models.CheckConstraint(condition=in_choices("level", Level), name="event_level"),
            models.UniqueConstraint(fields=["id", "node"], name="event_id_of_node"),
        ]
        indexes = [
            models.Index(fields=["node", "seq"], name="event_node_seq"),
            models.Index(fields=["process", "seq"], name="event_process_seq"),
            models.Index(fields=["problem", "seq"], name="event_problem_seq"),
            models.Index(fields=["received_at"], name="event_received_at"),
            models.Index(fields=["release", "seq"], condition=Q(release__isnull=False), name="event_release_seq"),
        ]

    def __str__(self) -> str:
        return f"#{self.seq} {self.text[:80]}"

    @property
    def reported_process(self) -> str:
        """The name that the node reported, also where the event is counted on another process."""
        return self.process_name or self.process.name


class RejectedEvent(models.Model):
    """A rejected event with its first bytes and the reason, for a person to examine."""

    source = models.CharField(
        max_length=120, unique=True, help_text="Stream, number and time: a redelivery adds no row."
    )
    received_at = models.DateTimeField()
    subject = models.CharField(max_length=300)
    node = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=40)
    detail = models.TextField(blank=True)
    size = models.BigIntegerField()
    head = models.BinaryField(help_text="The first 4 KiB.")

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["reason", "-id"], name="rejected_event_reason")]

    def __str__(self) -> str:
        return f"{self.reason} from {self.subject}"
