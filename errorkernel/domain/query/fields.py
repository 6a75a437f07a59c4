"""The fields of queries: of events, of incidents (rule conditions), and of problems."""

from dataclasses import dataclass

from errorkernel.domain.messages import TranslatableText as _


@dataclass(frozen=True, slots=True)
class Field:
    """Operators of a field; ``doc``, a sentence, and ``example`` are for the help of the search bar."""

    operators: tuple[str, ...]
    doc: str
    example: str


_IS = (":", "=")
_ORDER = (":", "=", ">=", "<=", ">", "<")
TAG = "tag."
"""What a field begins with that names a tag. The name follows as the sender wrote it, in either case."""
TAG_FIELD = "tag.NAME"
"""The entry of all such fields in the tables below."""

FIELDS: dict[str, Field] = {
    "node": Field(_IS, _("Name of the node, complete; * matches any characters."), "node:ship*"),
    "process": Field(_IS, _("Name of the process, complete; * matches any characters."), "process:copy-files"),
    "kind": Field(_IS, _("Type of the error, complete; * matches any characters."), "kind:*NotFound*"),
    "method": Field(
        _IS, _("Method of the message in progress, complete; * matches any characters."), "method:REQCopySrc"
    ),
    "text": Field((":",), _("Any part of the error text."), 'text:"no such file"'),
    "type": Field(_IS, _("error, info or action."), "type:action"),
    "level": Field(_ORDER, _("debug, info, warning, error or critical."), "level>=error"),
    "repeat": Field(_ORDER, _("Occurrences of this problem in this process up to this incident."), "repeat>10"),
    "problem": Field(_IS, _("Number of the problem, or of a problem that is merged into it."), "problem:42"),
    "release": Field(
        _IS, _("Release of the program (its tag release), complete; * matches any characters."), "release:1.4.2"
    ),
    TAG_FIELD: Field(_IS, _("The tag with this name, complete; * matches any characters."), "tag.customer:north"),
    "incident": Field(_IS, _("Id of the incident; *: every event that opened one."), "incident:*"),
    "id": Field(_IS, _("Id of the event."), "id:0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123"),
    "since": Field((":",), _("Received within this duration, or at or after this time (UTC)."), "since:2h"),
    "until": Field((":",), _("Received before this duration, or before this time (UTC)."), "until:2026-11-24T10:00"),
}
"""Every field of the language, in the order in which help shows them."""

_OF_INCIDENTS = ("node", "process", "kind", "method", "text", "level", "repeat", "problem", "release")
INCIDENT_FIELDS: dict[str, Field] = {
    **{name: FIELDS[name] for name in _OF_INCIDENTS},
    "consecutive": Field(_ORDER, _("Consecutive failures of this process on this message."), "consecutive>=3"),
    "fingerprint": Field(
        _IS, _("Fingerprint of the problem, complete; * matches any characters."), "fingerprint:9f2c*"
    ),
}
"""Fields of rule conditions: properties of an incident that never change, so no times."""

PROBLEM_FIELDS: dict[str, Field] = {
    "state": Field(_IS, _("open (includes reopened), muted, resolved, reopened; *: all."), "state:muted"),
    "assigned": Field(_IS, _("Assigned user: a name, me or nobody."), "assigned:me"),
    "taken": Field(_IS, _("Who has taken it or one of its pending incidents: a name, me or nobody."), "taken:me"),
    "level": Field(_ORDER, _("Highest level of its events."), "level>=error"),
    "kind": Field(_IS, _("Type of the error, complete; * matches any characters."), "kind:*NotFound*"),
    "text": Field((":",), _("Any part of the text."), 'text:"no such file"'),
    "node": Field(_IS, _("Name of an affected node, complete; * matches any characters."), "node:ship*"),
    "process": Field(_IS, _("Name of an affected process, complete; * matches any characters."), "process:copy-files"),
    "release": Field(
        _IS,
        _("Release of the last event in an affected process, complete; * matches any characters."),
        "release:1.4.2",
    ),
    "times": Field(_ORDER, _("Number of occurrences."), "times>100"),
    "pending": Field(_ORDER, _("Number of pending incidents."), "pending>0"),
    "nodes": Field(_ORDER, _("Number of affected nodes."), "nodes>=3"),
    "since": Field((":",), _("Last occurrence within this duration, or at or after this time (UTC)."), "since:2h"),
    "until": Field((":",), _("No occurrence within this duration, or since this time (UTC)."), "until:7d"),
}
"""Fields of problem searches."""

_NAME_FIELDS = frozenset({"node", "process", "kind", "method", "fingerprint", "state", "assigned", "taken", "release"})


def is_name(field: str | None) -> bool:
    """Whether its values are names: one without a star must be the complete name."""
    return field is not None and (field in _NAME_FIELDS or field.startswith(TAG))
