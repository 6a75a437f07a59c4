"""Nodes, their processes, incarnations and access denials."""

from datetime import datetime

from django.db import models
from django.db.models import Q

from errorkernel.domain.incarnations import Ending
from errorkernel.domain.liveness import Expectation, Heard
from errorkernel.models.fields import choices

FAMILIES = [("steward", "Steward"), ("ctrl", "ctrl")]


class Node(models.Model):
    """A named sender with its own credentials. The database stores only what verifies them: a public key and a hash.

    Nodes of Steward and ctrl are added with their first event and have none; their ``name`` has the suffix of
    ``errorkernel.domain.sender_names``.
    """

    name = models.CharField(max_length=80, unique=True)
    family = models.CharField(
        max_length=8, blank=True, choices=FAMILIES, help_text="Empty for our own nodes; others have no credentials."
    )
    formats = models.JSONField(default=list, blank=True, help_text="Formats of its messages, the latest last.")
    dialect = models.JSONField(null=True, blank=True, help_text="Dialect of commands to it, as its messages show it.")
    dialects = models.JSONField(
        default=list, blank=True, help_text="Dialects of its recent messages, each with its last time."
    )
    dialect_override = models.JSONField(
        null=True, blank=True, help_text="The dialect that an operator chose, and those known at that time."
    )
    enabled = models.BooleanField(default=True, help_text="A disabled node is refused by the broker and over HTTP.")
    public_key = models.CharField(max_length=64, blank=True, help_text="Public half of the node's nkey.")
    previous_public_key = models.CharField(
        max_length=64, blank=True, help_text="The previous key: a connection with it is recorded as that node's."
    )
    token_digest = models.CharField(max_length=64, blank=True, help_text="SHA-256 of the node's HTTP token.")
    demo = models.BooleanField(default=False)
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    version = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(
        "last heartbeat", null=True, blank=True, help_text="Time of its last heartbeat, by the server's clock."
    )
    late_at = models.DateTimeField(null=True, blank=True, help_text="When it becomes late without another heartbeat.")
    gone_at = models.DateTimeField(null=True, blank=True, help_text="When it becomes gone without another heartbeat.")
    heartbeat_pauses = models.JSONField(
        default=list, blank=True, help_text="Seconds between its last heartbeats, where its interval is not known."
    )
    http_at = models.DateTimeField(
        "last HTTP request",
        null=True,
        blank=True,
        help_text="Last HTTP request (server's clock), to half a minute.",
    )
    clock_skew_s = models.FloatField(
        "clock ahead (s)", null=True, blank=True, help_text="Its clock minus the server's at the last heartbeat."
    )
    backlog = models.BigIntegerField(
        "backlog", null=True, blank=True, help_text="Events in its journal that are not sent yet."
    )
    dropped = models.BigIntegerField(null=True, blank=True, help_text="Events for which its journal had no space.")
    dropped_infos = models.BigIntegerField(null=True, blank=True, help_text="Dropped infos.")
    dropped_errors = models.BigIntegerField(null=True, blank=True, help_text="Dropped errors.")
    refused = models.BigIntegerField(null=True, blank=True, help_text="Events that the broker refused for good.")
    names_folded = models.BigIntegerField(
        default=0, help_text="Events whose process or problem was folded, because it had reported too many."
    )
    names_folded_at = models.DateTimeField(null=True, blank=True, help_text="When a name was last folded.")
    flood_messages = models.BigIntegerField(
        default=0, help_text="Its messages in the event stream when it last had far more than can be stored at once."
    )
    flooded_at = models.DateTimeField(null=True, blank=True, help_text="When that was.")
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

    @property
    def contact_at(self) -> datetime | None:
        """The time of its last contact of any kind."""
        return max((at for at in (self.heartbeat_at, self.http_at, self.last_event_at) if at), default=None)

    @property
    def heard(self) -> Heard:
        """The data from which its liveness is computed."""
        expected = Expectation(self.late_at, self.gone_at) if self.late_at and self.gone_at else None
        return Heard(expected, self.contact_at)


class Process(models.Model):
    """A named unit of work on a node, and the data of its present incarnation."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="processes")
    name = models.CharField(max_length=200)
    incarnation = models.BigIntegerField(null=True, blank=True)
    state = models.CharField(max_length=200, blank=True, help_text="As in the node's heartbeat.")
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
    """One incarnation of a process: start, end, ending and failures. The newest of each process are kept."""

    process = models.ForeignKey(Process, on_delete=models.CASCADE, related_name="incarnations")
    number = models.BigIntegerField()
    pid = models.BigIntegerField(null=True, blank=True)
    first_seen = models.DateTimeField(help_text="Time of its first sign, by the server's clock.")
    since = models.DateTimeField(null=True, blank=True, help_text="Its start, by the node's clock.")
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When the server learned of its end.")
    ending = models.CharField(max_length=8, blank=True, choices=choices(Ending))
    incident = models.ForeignKey(
        "Incident",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The incident whose decision ended it.",
    )
    failures = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["process", "number"], name="incarnation_unique")]

    def __str__(self) -> str:
        return f"{self.process}, incarnation {self.number}"


class AccessDenial(models.Model):
    """An access without the right to; repeated ones share a row."""

    operation = models.CharField(max_length=12, help_text="publish, subscribe, connect or http.")
    target = models.CharField(max_length=200, blank=True, help_text="The subject, or the address over HTTP.")
    node = models.CharField(max_length=64, blank=True, help_text="The node, if it is certain.")
    credential = models.CharField(max_length=80, blank=True, help_text="Public key, user name or digest of the token.")
    address = models.CharField(max_length=64, blank=True)
    count = models.BigIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        ordering = ["-last_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["node", "operation", "target", "credential", "address"], name="access_denial_unique"
            )
        ]
        indexes = [models.Index(fields=["-last_at"], name="access_denial_last_at")]

    def __str__(self) -> str:
        return f"{self.node or self.credential or 'somebody'}: {self.operation} {self.target}".strip()
