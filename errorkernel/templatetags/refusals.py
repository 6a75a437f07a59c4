"""Why input was refused, in words: the codes are what metrics and searches name."""

from django import template
from django.utils.translation import gettext_lazy

register = template.Library()

_WORDS = {
    "bad_compression": gettext_lazy("cannot be unpacked"),
    "bad_node": gettext_lazy("names no node that can be"),
    "bad_process": gettext_lazy("names no process that can be"),
    "bad_subject": gettext_lazy("came on a subject that is none for it"),
    "bad_time": gettext_lazy("has a time that is none"),
    "bad_version": gettext_lazy("is of a version that is not known here"),
    "body_too_big": gettext_lazy("is larger than may be sent at once"),
    "cannot_be_stored": gettext_lazy("the database does not take it"),
    "empty": gettext_lazy("nothing is in it"),
    "encoding": gettext_lazy("is packed in a way that is not known here"),
    "not_cbor": gettext_lazy("is no whole CBOR"),
    "not_gob": gettext_lazy("is no whole gob"),
    "not_gzip": gettext_lazy("is no whole gzip"),
    "not_json": gettext_lazy("is no JSON"),
    "not_zstd": gettext_lazy("is no whole zstd"),
    "too_big": gettext_lazy("is too large"),
    "too_deep": gettext_lazy("is nested too deep"),
    "too_many": gettext_lazy("holds too many values"),
    "too_many_nodes": gettext_lazy("comes from a new node, and no more are taken"),
    "unknown_incident": gettext_lazy("is about a question that is not known"),
    "unknown_layout": gettext_lazy("is laid out in a way that is not known here"),
    "wrong_incident": gettext_lazy("is about another question than its subject"),
    "wrong_shape": gettext_lazy("a field is missing or of the wrong kind"),
}


@register.filter
def refusal(reason: str) -> str:
    """A code as a reader says it; one that is not known as it is."""
    return str(_WORDS.get(reason, reason))
