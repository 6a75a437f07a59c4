"""The timeline of an incident: its steps with their times.

Only recorded steps are shown as done. The first open step shows what is pending; the last step of a failure shows the
reason.
"""

from dataclasses import dataclass
from datetime import datetime

from django import template
from django.utils.translation import gettext as _

from errorkernel.domain import incident_state
from errorkernel.domain.incident_state import State
from errorkernel.domain.liveness import Liveness, of_node
from errorkernel.models import Decision, Incident, Node
from errorkernel.templatetags.console import decider, roughly, verb, visible

register = template.Library()

CLOCK_SHOWN_S = 0.1
"""A smaller difference of clocks is not shown."""


@dataclass(frozen=True, slots=True)
class Step:
    """``mark``: ``done``, ``now`` (pending), ``open`` (not yet), ``bad`` or ``good`` (the end)."""

    word: str
    at: datetime | None
    mark: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class StatusStep:
    """A step of the status line. ``mark``: ``here`` (where it is now), ``ahead`` (not yet), ``bad``, ``good`` or empty
    (done). ``is_pending``: its time is how long the process is blocked."""

    word: str
    at: datetime | None
    mark: str
    note: str = ""
    is_pending: bool = False


_STATUS_MARKS = {"done": "", "now": "here", "open": "ahead", "bad": "bad", "good": "good"}


@register.filter
def status_line(incident: Incident, now: datetime) -> list[StatusStep]:
    """The steps of ``incident``, with those to come, so that the line grows without moving anything."""
    pending = incident.state == State.OPEN
    steps = timeline(incident, now)
    if pending:
        received = _("delivered to {node}").format(node=incident.node.name)
        steps += [Step(word, None, "open") for word in (_("decided"), _("sent"), received, _("applied"))]
    return [
        StatusStep(
            step.word,
            step.at,
            _STATUS_MARKS[step.mark],
            _clock_note(incident) if place == 0 else step.note if step.mark != "done" else "",
            is_pending=pending and step.mark == "now",
        )
        for place, step in enumerate(steps)
    ]


def _clock_note(incident: Incident) -> str:
    """The clock of the first step, if it differs from that of the others."""
    skew = incident.node.clock_skew_s
    if skew is None or abs(skew) < CLOCK_SHOWN_S:
        return ""
    return _("clock of {node}, {seconds} s").format(node=incident.node.name, seconds=f"{skew:+.1f}")


@register.filter
def timeline(incident: Incident, now: datetime) -> list[Step]:
    """The steps of ``incident`` in order. Needs ``select_related("node", "decision")``."""
    steps = [
        Step(_("raised"), incident.raised_at, "done", _("by the clock of {node}").format(node=incident.node.name)),
        Step(_("stored"), incident.opened_at, "done", _("by this server's clock")),
    ]
    if incident.escalated_at:
        met = incident.deadline_at is not None and incident.deadline_at <= incident.escalated_at
        steps.append(Step(_("deadline passed") if met else _("escalated by a rule"), incident.escalated_at, "done"))
    decision = getattr(incident, "decision", None)
    if decision is None:
        waits = incident.state == State.OPEN
        return [*steps, Step(_("pending"), None, "now") if waits else _end(incident)]
    text = _("decided {action} by {who}").format(action=verb(decision.action), who=decider(decision))
    steps.append(Step(text, decision.decided_at, "done"))
    return steps + _way(incident, decision, now)


def _way(incident: Incident, decision: Decision, now: datetime) -> list[Step]:
    """The steps from the decision on. A step without a time is omitted if a later one is done."""
    name = incident.node.name
    received = _("delivered to {node}").format(node=name)
    ended = incident.state not in (State.DECIDED, State.DELIVERED)
    steps = []
    if decision.sent_at:
        steps.append(Step(_("sent"), decision.sent_at, "done"))
    elif not ended and not incident.delivered_at:
        return [
            Step(_("to be sent"), None, "now", _("in the outbox until the broker has it")),
            Step(received, None, "open"),
            Step(_("applied"), None, "open"),
        ]
    if incident.delivered_at:
        steps.append(Step(received, incident.delivered_at, "done"))
    elif not ended:
        return [
            *steps,
            Step(_("not delivered to {node} yet").format(node=name), None, "now", _silence(incident.node, now)),
            Step(_("applied"), None, "open"),
        ]
    return [*steps, _end(incident) if ended else Step(_("not applied yet"), None, "now", _silence(incident.node, now))]


def _silence(node: Node, now: datetime) -> str:
    if node.heartbeat_at is None or of_node(node.heard, now) is Liveness.ALIVE:
        return ""
    return _("no heartbeat from {node} for {age}").format(node=node.name, age=roughly(now - node.heartbeat_at))


def _end(incident: Incident) -> Step:
    detail = visible(incident.outcome_detail)
    if incident.state == State.APPLIED:
        return Step(ending(incident), incident.ended_at, "good", detail)
    return Step(ending(incident), incident.ended_at, "bad", detail)


@register.filter
def blocked_since(incident: Incident) -> datetime:
    """Since when its process is blocked, by the server's clock."""
    return incident_state.blocked_since(incident.raised_at, incident.opened_at, incident.node.clock_skew_s)


@register.filter
def ending(incident: Incident) -> str:
    """The result of an ended incident in a few words."""
    if incident.by_itself and incident.state == State.STALE:
        return _("stale: the node had decided {action} while it was isolated").format(action=incident.by_itself)
    if incident.by_itself:
        return _("decided {action} by the node while it was isolated").format(action=incident.by_itself)
    if incident.state == State.STALE:
        return _("stale: the process had restarted")
    if incident.state == State.FAILED:
        return _("failed")
    if incident.state == State.WITHDRAWN:
        return _("withdrawn before a decision")
    words = []
    if incident.new_incarnation is not None:
        words.append(_("incarnation {number}").format(number=incident.new_incarnation))
        if incident.process.pid is not None and incident.process.incarnation == incident.new_incarnation:
            words.append(f"pid {incident.process.pid}")
    return _("applied: {what}").format(what=", ".join(words)) if words else _("applied")
