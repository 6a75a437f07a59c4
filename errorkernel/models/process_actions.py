"""Actions on the processes of Steward/ctrl nodes."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from errorkernel.domain.process_actions import ActionKind, ActionOutcome, RequestKind, RequestResult
from errorkernel.models.events import Problem
from errorkernel.models.fields import choices, in_choices
from errorkernel.models.nodes import Node
from errorkernel.models.rules import Rule


class ProcessAction(models.Model):
    """One action on such a node: list its processes, or stop, start or kill one.

    ``queued`` until a kernel claims it, ``running`` while a kernel carries it out, then its result. Its requests hold
    the messages and their replies. It copies the number of its event and the problem, because events are deleted.
    """

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = ActionOutcome.DONE.value
        FAILED = ActionOutcome.FAILED.value
        UNCLEAR = ActionOutcome.UNCLEAR.value

    UNDER_WAY = (State.QUEUED, State.RUNNING)

    token = models.CharField(max_length=32, unique=True, help_text="Sent with each request and in each reply.")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="process_actions", db_index=False)
    plan = models.CharField(max_length=8, choices=choices(ActionKind))
    method = models.CharField(max_length=64, blank=True, help_text="Method of the process, in the node's spelling.")
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    summary = models.TextField(blank=True, help_text="Its result in one sentence.")
    actor = models.CharField(max_length=200, help_text="user:<name> or rule:<id>.")
    rule = models.ForeignKey(
        Rule, null=True, blank=True, on_delete=models.PROTECT, related_name="process_actions", db_index=False
    )
    rule_revision = models.IntegerField(null=True, blank=True, help_text="Revision of the rule that requested it.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=100, blank=True, help_text="Repeating a request with it changes nothing.")
    event_seq = models.BigIntegerField(null=True, blank=True, help_text="Number of the event that it is based on.")
    problem = models.ForeignKey(
        Problem, null=True, blank=True, on_delete=models.SET_NULL, related_name="process_actions"
    )
    listed_processes = models.JSONField(default=list, blank=True, help_text="The processes in the node's last list.")
    worker = models.CharField(max_length=200, blank=True, help_text="The kernel that carries it out.")
    leased_until = models.DateTimeField(null=True, blank=True, help_text="Until when its kernel has it alone.")
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(condition=in_choices("plan", ActionKind), name="process_action_plan"),
            # One at a time: two actions that stop and start the same process would undo each other.
            models.UniqueConstraint(
                fields=["node", "method"],
                condition=Q(state__in=["queued", "running"]),
                name="process_action_one_under_way",
            ),
        ]
        indexes = [
            models.Index(fields=["node", "-id"], name="process_action_node"),
            models.Index(fields=["event_seq"], name="process_action_event"),
            models.Index(fields=["state", "id"], name="process_action_state"),
            models.Index(
                fields=["rule", "-created_at"], condition=Q(rule__isnull=False), name="process_action_rule_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.plan} {self.method} on {self.node}".replace("  ", " ")


class ProcessActionRequest(models.Model):
    """One message to the node, stored before it is sent, and its reply. ``result`` is empty until the reply."""

    action = models.ForeignKey(ProcessAction, on_delete=models.CASCADE, related_name="requests", db_index=False)
    number = models.IntegerField()
    ask = models.CharField(max_length=8, choices=choices(RequestKind))
    result = models.CharField(max_length=12, blank=True, choices=choices(RequestResult))
    numbers = models.JSONField(default=list, blank=True, help_text="The node's numbers of the process, as listed.")
    detail = models.TextField(blank=True, help_text="The node's reply, or why there is none.")
    sent_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["action", "number"]
        constraints = [
            models.CheckConstraint(condition=in_choices("ask", RequestKind), name="process_action_request_ask"),
            models.UniqueConstraint(fields=["action", "number"], name="process_action_request_number"),
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.ask}: {self.result or 'waits'}"
