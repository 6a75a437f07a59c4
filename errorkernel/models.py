"""What the product remembers. The database is the truth; every change of it goes through ``errorkernel.store``.

Times that a node's clock gave are called ``occurred_at``; all others are ours. Ids that nodes give are UUIDs.
"""

from typing import TypeAlias

from django.conf import settings
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from errorkernel.core import incident as life
from errorkernel.core.lineage import Ending
from errorkernel.core.rules import LOOP_LIMIT, NAME_MAX_CHARS, STORM_LIMIT, RuleAction, is_poison
from errorkernel.core.values import Action, EventType, Level, OnDeadline


class Sequence(models.BigIntegerField):
    """A primary key that we number ourselves. On SQLite it must be declared ``integer``, or the table keeps a second
    index beside its own order and every insert feeds both."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return "integer" if connection.vendor == "sqlite" else super().db_type(connection)


Words: TypeAlias = (
    type[EventType] | type[Level] | type[Action] | type[OnDeadline] | type[life.State] | type[RuleAction] | type[Ending]
)


def _choices(words: Words) -> list[tuple[str, str]]:
    return [(word.value, word.value) for word in words]


def _one_of(field: str, words: Words) -> Q:
    return Q(**{f"{field}__in": [word.value for word in words]})


class Counter(models.Model):
    """Gap-free numbers. A number is taken inside the transaction that uses it, so number order is commit order.

    ``events`` numbers stored events (their ``seq``), ``changes`` numbers changes of incidents, ``nodes`` is the
    revision of the credentials: the broker's configuration is written anew when it moves. ``rules`` is the revision of
    all rules together: who judges by rules that have changed meanwhile notices, and begins anew.
    """

    EVENTS = "events"
    CHANGES = "changes"
    NODES = "nodes"
    RULES = "rules"

    name = models.CharField(max_length=32, primary_key=True)
    value = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class Node(models.Model):
    """A named sender with its own credentials. Only what verifies them is kept: a public key and a hash."""

    name = models.CharField(max_length=64, unique=True)
    enabled = models.BooleanField(default=True, help_text="A disabled node is refused by the broker and over HTTP.")
    public_key = models.CharField(max_length=64, blank=True, help_text="Public half of the node's nkey.")
    former_key = models.CharField(max_length=64, blank=True, help_text="The one before it: who still comes with it.")
    token_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the node's HTTP token.")
    demo = models.BooleanField(default=False)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    version = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    hello_at = models.DateTimeField(null=True, blank=True, help_text="When we last heard its hello (our clock).")
    clock_skew_s = models.FloatField(null=True, blank=True, help_text="Its clock minus ours at the last hello.")
    backlog = models.BigIntegerField(null=True, blank=True, help_text="Reports in its journal that it has yet to send.")
    dropped = models.BigIntegerField(null=True, blank=True, help_text="Reports that its journal had no room for.")
    dropped_infos = models.BigIntegerField(null=True, blank=True, help_text="Infos among the dropped.")
    dropped_errors = models.BigIntegerField(null=True, blank=True, help_text="Errors among the dropped.")
    refused = models.BigIntegerField(null=True, blank=True, help_text="Reports that the broker would not take.")
    last_event_at = models.DateTimeField(null=True, blank=True)
    events = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["public_key"], condition=~Q(public_key=""), name="node_public_key_unique"),
            models.UniqueConstraint(fields=["token_digest"], condition=~Q(token_digest=""), name="node_token_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class Process(models.Model):
    """A named unit of work on a node, and what is known of its present incarnation."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="processes")
    name = models.CharField(max_length=200)
    incarnation = models.BigIntegerField(null=True, blank=True)
    state = models.CharField(max_length=200, blank=True, help_text="As the node's hello says it.")
    pid = models.BigIntegerField(null=True, blank=True)
    since = models.DateTimeField(null=True, blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    events = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "processes"
        ordering = ["node__name", "name"]
        constraints = [models.UniqueConstraint(fields=["node", "name"], name="process_unique")]
        indexes = [models.Index(fields=["-last_seen"], name="process_last_seen")]

    def __str__(self) -> str:
        return f"{self.name} on {self.node}"


class Incarnation(models.Model):
    """One life of a process: from when to when, how it ended, what it reported. The newest of each process are kept."""

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="incarnations")
    number = models.BigIntegerField()
    pid = models.BigIntegerField(null=True, blank=True)
    first_seen = models.DateTimeField(help_text="When we first heard of it.")
    since = models.DateTimeField(null=True, blank=True, help_text="When it began, by its node's clock.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When we knew that it had ended.")
    ending = models.CharField(max_length=8, blank=True, choices=_choices(Ending))
    incident = models.ForeignKey(
        "Incident",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Whose answer ended it.",
    )
    failures = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["process", "number"], name="incarnation_unique")]

    def __str__(self) -> str:
        return f"{self.process}, incarnation {self.number}"


class Problem(models.Model):
    """All error states with one fingerprint, fleet-wide."""

    fingerprint = models.CharField(max_length=32, unique=True)
    kind = models.CharField(max_length=200, blank=True)
    title = models.TextField()
    why = models.TextField(help_text="Why its events are counted as the same.")
    level = models.CharField(max_length=8, choices=_choices(Level))
    level_rank = models.SmallIntegerField()
    count = models.BigIntegerField(default=0)
    nodes = models.IntegerField(default=0, help_text="Number of nodes that it was seen on.")
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()

    class Meta:
        ordering = ["-last_seen"]
        constraints = [models.CheckConstraint(condition=_one_of("level", Level), name="problem_level")]
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
    type = models.CharField(max_length=8, choices=_choices(EventType))
    level = models.CharField(max_length=8, choices=_choices(Level))
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
            models.CheckConstraint(condition=_one_of("type", EventType), name="event_type"),
            models.CheckConstraint(condition=_one_of("level", Level), name="event_level"),
        ]
        indexes = [
            models.Index(fields=["node", "seq"], name="event_node_seq"),
            models.Index(fields=["process", "seq"], name="event_process_seq"),
            models.Index(fields=["problem", "seq"], name="event_problem_seq"),
            models.Index(fields=["received_at"], name="event_received_at"),
        ]

    def __str__(self) -> str:
        return f"#{self.seq} {self.text[:80]}"


class Incident(models.Model):
    """The open question of an ``action`` event: one blocked process waiting for one answer.

    It keeps what it needs of its event, so that it outlives the event's retention.
    """

    id = models.UUIDField(primary_key=True)
    seq = models.BigIntegerField(help_text="seq of the event that raised it.")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="incidents")
    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="incidents")
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="incidents")
    incarnation = models.BigIntegerField(null=True, blank=True)
    level = models.CharField(max_length=8, choices=_choices(Level))
    kind = models.CharField(max_length=200, blank=True)
    text = models.TextField()
    message = models.JSONField(null=True, blank=True)
    repeat = models.BigIntegerField(default=1, help_text="How often this process had met this problem by then.")
    consecutive = models.BigIntegerField(default=0, help_text="How often in a row on this same message.")
    state = models.CharField(max_length=12, choices=_choices(life.State), default=life.State.OPEN.value)
    change = models.BigIntegerField(default=0, help_text="Number of its last change, from the counter of all changes.")
    raised_at = models.DateTimeField(help_text="When the process blocked, by the node's clock.")
    opened_at = models.DateTimeField(help_text="When we stored it.")
    deadline_at = models.DateTimeField(null=True, blank=True)
    on_deadline = models.CharField(max_length=8, choices=_choices(OnDeadline), default=OnDeadline.ESCALATE.value)
    escalated_at = models.DateTimeField(null=True, blank=True)
    node_missing = models.CharField(
        max_length=5, blank=True, help_text="late or gone while it waits: its node has not said hello."
    )
    judged = models.BooleanField(default=False, help_text="The rules have been asked about it.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome_detail = models.TextField(blank=True)
    new_incarnation = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["-opened_at"]
        permissions = [("answer_incident", "Can answer a waiting process")]
        constraints = [
            models.CheckConstraint(condition=_one_of("state", life.State), name="incident_state"),
            models.CheckConstraint(condition=_one_of("on_deadline", OnDeadline), name="incident_on_deadline"),
        ]
        indexes = [
            models.Index(fields=["opened_at"], condition=Q(state="open"), name="incident_open"),
            models.Index(
                fields=["deadline_at"], condition=Q(state="open", deadline_at__isnull=False), name="incident_deadline"
            ),
            models.Index(fields=["state", "-opened_at"], name="incident_state_opened"),
            models.Index(fields=["change"], name="incident_change"),
            models.Index(fields=["seq"], name="incident_seq"),
            models.Index(fields=["process", "seq"], name="incident_process_seq"),
            # Without the state: SQLite uses a partial index only where no parameter stands in its condition.
            models.Index(fields=["seq"], condition=Q(judged=False), name="incident_unjudged"),
        ]

    def __str__(self) -> str:
        return f"{self.process}: {self.text[:80]}"

    @property
    def is_poison(self) -> bool:
        """Its process had failed on this message so often in a row that the message is kept as a dead letter."""
        return is_poison(self.consecutive)


class Rule(models.Model):
    """An entry of the policy: what is said to a question without a person. First match wins, by ``position``.

    A removed rule stays as a row, so that what it once answered can still say by what.
    """

    name = models.CharField(max_length=NAME_MAX_CHARS)
    position = models.IntegerField()
    enabled = models.BooleanField(default=False)
    condition = models.TextField(help_text="A query over the fields of a question.")
    action = models.CharField(max_length=8, choices=_choices(RuleAction))
    reason = models.TextField(help_text="Goes with every answer that it gives.")
    author = models.CharField(max_length=200, help_text="Who wrote the present revision: user:<name>.")
    revision = models.IntegerField(default=1, help_text="Grows by one with every change.")
    after_seq = models.BigIntegerField(default=0, help_text="Questions up to this number are older than the rule.")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    max_uses = models.IntegerField(null=True, blank=True)
    uses = models.IntegerField(default=0)
    used_at = models.DateTimeField(null=True, blank=True)
    storm_limit = models.IntegerField(default=STORM_LIMIT, help_text="More answers within 60 s suspend it.")
    loop_limit = models.IntegerField(default=LOOP_LIMIT, help_text="More answers in a row on one message suspend it.")
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_why = models.TextField(blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "id"]
        constraints = [models.CheckConstraint(condition=_one_of("action", RuleAction), name="rule_action")]

    def __str__(self) -> str:
        return f"rule {self.pk} (revision {self.revision}): {self.name}"


class Decision(models.Model):
    """The one answer to an incident; the database allows no second."""

    id = models.UUIDField(primary_key=True)
    incident = models.OneToOneField(Incident, on_delete=models.CASCADE, related_name="decision")
    action = models.CharField(max_length=8, choices=_choices(Action))
    by = models.CharField(max_length=200, help_text="user:<name>, rule:<id> or deadline.")
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
        constraints = [models.CheckConstraint(condition=_one_of("action", Action), name="decision_action")]
        indexes = [
            models.Index(fields=["rule", "-decided_at"], condition=Q(rule__isnull=False), name="decision_rule_at")
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.by}"


class Requeue(models.Model):
    """A message in progress that an operator gave back to its process, and what became of it.

    ``sent`` from the operator's word on (``sent_at``: when the broker had it), ``received`` once the node has it in its
    journal; the node's outcome ends it. ``dropped``: an operator decided that it is not wanted any more.
    """

    class State(models.TextChoices):
        SENT = "sent"
        RECEIVED = "received"
        APPLIED = "applied"
        FAILED = "failed"
        DROPPED = "dropped"

    UNDER_WAY = (State.SENT, State.RECEIVED)

    id = models.UUIDField(primary_key=True)
    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="requeues", db_index=False)
    state = models.CharField(max_length=8, choices=State.choices, default=State.SENT)
    by = models.CharField(max_length=200, help_text="user:<name>.")
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
                condition=Q(state__in=["sent", "received", "applied", "failed", "dropped"]), name="requeue_state"
            ),
            # One at a time: the process must not get the same message twice because two people were quick.
            models.UniqueConstraint(
                fields=["incident"], condition=Q(state__in=["sent", "received"]), name="requeue_one_under_way"
            ),
        ]
        indexes = [models.Index(fields=["incident", "created_at"], name="requeue_incident")]

    def __str__(self) -> str:
        return f"requeue of {self.incident_id}: {self.state}"


class DeadLetter(models.Model):
    """A poison message: one process failed on it three times in a row for the same reason. Kept to be looked at."""

    class State(models.TextChoices):
        KEPT = "kept"
        SENT = "sent again"
        DROPPED = "dropped"

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="dead_letters", db_index=False)
    problem = models.ForeignKey(Problem, on_delete=models.CASCADE, related_name="dead_letters")
    digest = models.CharField(max_length=64, help_text="Digest of the message: two with one digest are one message.")
    message = models.JSONField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.KEPT)
    failures = models.BigIntegerField(help_text="How often in a row the process had failed on it.")
    incident = models.ForeignKey(
        Incident, null=True, blank=True, on_delete=models.SET_NULL, related_name="dead_letters",
        help_text="The latest question about it, if it asked.",
    )  # fmt: skip
    seq = models.BigIntegerField(help_text="seq of the latest failure.")
    first_at = models.DateTimeField(help_text="When it became poison.")
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


class Outbox(models.Model):
    """What the kernel still has to publish. Written with the change that causes it; removed when the broker has it."""

    subject = models.CharField(max_length=200)
    msg_id = models.CharField(max_length=100, unique=True)
    payload = models.BinaryField()
    created_at = models.DateTimeField()
    attempts = models.IntegerField(default=0)
    next_try_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "outbox"
        ordering = ["id"]
        indexes = [models.Index(fields=["next_try_at"], name="outbox_next_try")]

    def __str__(self) -> str:
        return self.subject


class AuditEntry(models.Model):
    """Who did what, why, when and from where; one row per state change.

    Written once: the database itself refuses to change or remove a row (migration 0003). So the person's number stays
    when the person is removed; ``actor`` has the name.
    """

    at = models.DateTimeField()
    actor = models.CharField(max_length=200, help_text="user:<name>, node:<name>, rule:<id>, deadline or system.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    action = models.CharField(max_length=64)
    target = models.CharField(max_length=300, help_text="What it was done to, e.g. incident:<id>.")
    reason = models.TextField(blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    origin = models.CharField(max_length=200, blank=True, help_text="Address and session or token that it came from.")

    class Meta:
        verbose_name_plural = "audit entries"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["target", "id"], name="audit_target"),
            models.Index(fields=["-at"], name="audit_at"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.action} {self.target}"


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


class RefusedAttempt(models.Model):
    """What somebody tried who may not: one row for the same thing tried again and again."""

    what = models.CharField(max_length=12, help_text="publish, subscribe, connect or http.")
    target = models.CharField(max_length=200, blank=True, help_text="The subject, or the address over HTTP.")
    node = models.CharField(max_length=64, blank=True, help_text="The node that it was, as far as that is certain.")
    claimed = models.CharField(max_length=80, blank=True, help_text="Public key, user name or digest of the token.")
    address = models.CharField(max_length=64, blank=True)
    count = models.BigIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        ordering = ["-last_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["node", "what", "target", "claimed", "address"], name="refused_unique")
        ]
        indexes = [models.Index(fields=["-last_at"], name="refused_last_at")]

    def __str__(self) -> str:
        return f"{self.node or self.claimed or 'somebody'}: {self.what} {self.target}".strip()


class KernelHeartbeat(models.Model):
    """When each kernel worker last wrote that it lives. Pages and readiness look here."""

    worker = models.CharField(max_length=200, unique=True, help_text="host:pid")
    at = models.DateTimeField()
    started_at = models.DateTimeField()
    broker_connected = models.BooleanField(default=False)
    lag = models.BigIntegerField(default=0, help_text="Messages in the stream that are not stored yet.")

    def __str__(self) -> str:
        return self.worker


class ApiToken(models.Model):
    """An operator's personal token for the API; only its hash is kept."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    digest = models.CharField(max_length=64, unique=True)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"token {self.pk} of {self.user}"
