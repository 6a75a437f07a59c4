"""Reasons of rejected events as texts; metrics and searches use their codes."""

from django import template
from django.utils.translation import gettext_lazy

register = template.Library()

_WORDS = {
    "bad_compression": gettext_lazy("cannot be decompressed"),
    "bad_node": gettext_lazy("invalid node name"),
    "bad_process": gettext_lazy("invalid process name"),
    "bad_subject": gettext_lazy("invalid subject for this message"),
    "bad_time": gettext_lazy("invalid time"),
    "bad_version": gettext_lazy("unknown version"),
    "body_too_big": gettext_lazy("is larger than the maximum size of a request"),
    "cannot_be_stored": gettext_lazy("cannot be stored in the database"),
    "empty": gettext_lazy("is empty"),
    "encoding": gettext_lazy("unknown encoding"),
    "id_reused": gettext_lazy("has an id that was used for another event"),
    "not_cbor": gettext_lazy("invalid CBOR"),
    "not_gob": gettext_lazy("invalid gob"),
    "not_gzip": gettext_lazy("invalid gzip"),
    "not_json": gettext_lazy("invalid JSON"),
    "not_zstd": gettext_lazy("invalid zstd"),
    "too_big": gettext_lazy("is too large"),
    "too_deep": gettext_lazy("is nested too deeply"),
    "too_many": gettext_lazy("contains too many values"),
    "too_many_nodes": gettext_lazy("comes from a new node beyond the maximum number of nodes"),
    "unknown_incident": gettext_lazy("unknown incident"),
    "unknown_layout": gettext_lazy("unknown layout"),
    "wrong_incident": gettext_lazy("incident differs from its subject"),
    "wrong_shape": gettext_lazy("a field is missing or has the wrong type"),
}


@register.filter
def refusal(reason: str) -> str:
    """The text of a code; unknown codes unchanged."""
    return str(_WORDS.get(reason, reason))
