"""What was reported, grouped and counted, and what could not be read."""

from django.db import models

from errorkernel.core.values import EventType, Level
from errorkernel.models.fields import Sequence, choices, one_of
from errorkernel.models.fleet import Node, Process


class Problem(models.Model):
    """All error states with one fingerprint, fleet-wide."""

    fingerprint = models.CharField(max_length=32, unique=True)
    kind = models.CharField(max_length=200, blank=True)
    title = models.TextField()
    why = models.TextField(help_text="Why its events are counted as the same.")
    level = models.CharField(max_length=8, choices=choices(Level))
    level_rank = models.SmallIntegerField()
    count = models.BigIntegerField(default=0)
    nodes = models.IntegerField(default=0, help_text="Number of nodes that it was seen on.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        ordering = ["-last_seen"]
        constraints = [models.CheckConstraint(condition=one_of("level", Level), name="problem_level")]
        indexes = [
            models.Index(fields=["-last_seen"], name="problem_last_seen"),
            models.Index(fields=["-count"], name="problem_count"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.title}"[:120] if self.kind else self.title[:120]


class ErrorState(models.Model):
    """How often one process met one problem. ``consecutive``: failures on the same message, none other between."""

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="error_states")
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="error_states")
    count = models.BigIntegerField(default=0)
    consecutive = models.BigIntegerField(default=0)
    last_message = models.CharField(max_length=64, blank=True, help_text="Digest of the message it last failed on.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    last_seq = models.BigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["process", "problem"], name="error_state_unique")]
        indexes = [models.Index(fields=["problem", "-last_seen"], name="error_state_problem")]

    def __str__(self) -> str:
        return f"{self.process}: {self.problem} ×{self.count}"


class ErrorEvent(models.Model):
    """One report, as it was made. ``seq`` is gap-free and in commit order: browsers resume from it."""

    seq = Sequence(primary_key=True)
    id = models.UUIDField(unique=True)
    type = models.CharField(max_length=8, choices=choices(EventType))
    level = models.CharField(max_length=8, choices=choices(Level))
    level_rank = models.SmallIntegerField()
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="error_events", db_index=False)
    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="error_events", db_index=False)
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="error_events", db_index=False)
    incarnation = models.BigIntegerField(null=True, blank=True)
    kind = models.CharField(max_length=200, blank=True)
    text = models.TextField()
    stack = models.TextField(blank=True)
    message = models.JSONField(null=True, blank=True)
    relay_from_node = models.CharField(max_length=200, blank=True)
    tags = models.JSONField(default=dict, blank=True)
    cut = models.CharField(max_length=200, blank=True, help_text="Fields that were over their limit and were cut.")
    repeat = models.BigIntegerField(default=1, help_text="How often this process had met this problem by then.")
    occurred_at = models.DateTimeField(null=True, blank=True, help_text="By the node's clock.")
    received_at = models.DateTimeField(help_text="By ours.")

    class Meta:
        ordering = ["-seq"]
        constraints = [
            models.CheckConstraint(condition=one_of("type", EventType), name="event_type"),
            models.CheckConstraint(condition=one_of("level", Level), name="event_level"),
        ]
        indexes = [
            models.Index(fields=["node", "seq"], name="event_node_seq"),
            models.Index(fields=["process", "seq"], name="event_process_seq"),
            models.Index(fields=["problem", "seq"], name="event_problem_seq"),
            models.Index(fields=["received_at"], name="event_received_at"),
        ]

    def __str__(self) -> str:
        return f"#{self.seq} {self.text[:80]}"


class QuarantinedMessage(models.Model):
    """Input that was refused, with its beginning and the reason, so that somebody can see what it was."""

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
        indexes = [models.Index(fields=["reason", "-id"], name="quarantine_reason")]

    def __str__(self) -> str:
        return f"{self.reason} from {self.subject}"
