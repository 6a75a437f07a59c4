"""Parses the parameters of a query string. An invalid value raises one sentence for the reader (400)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from django.utils.translation import gettext as _

from errorkernel.domain.nearest import nearest_word

LARGEST = 2**63 - 1
"""The largest whole number of the databases: a larger one fails instead of finding nothing."""


class BadParameter(ValueError):
    """A value in the address is invalid; the message is one sentence for the reader."""


def check_parameters(given: Iterable[str], known: Sequence[str]) -> None:
    """Raises BadParameter for a parameter of an address that is not ``known``: its effect would be missing."""
    for name in given:
        if name not in known:
            raise BadParameter(_("Unknown parameter “{name}”.").format(name=name[:40]) + hint(name, known))


def check_fields(given: Iterable[str], known: Sequence[str]) -> None:
    """Raises BadParameter for a field of a form that is not ``known``."""
    for name in given:
        if name not in known:
            raise BadParameter(_("Unknown field “{name}”.").format(name=name[:40]) + hint(name, known))


def hint(name: str, known: Sequence[str]) -> str:
    """The nearest known name, or all of them; with a leading space."""
    if meant := nearest_word(name, known):
        return " " + _("Did you mean “{name}”?").format(name=meant)
    if known:
        return " " + _("Known here: {names}.").format(names=", ".join(known))
    return " " + _("This page has no parameters.")


def number(given: Mapping[str, str], name: str) -> int | None:
    """The whole number ``name``, or None where it is not given. Raises BadParameter."""
    text = given.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= LARGEST and len(text) <= 20):
        raise BadParameter(_("“{name}” must be a whole number, not “{text}”.").format(name=name, text=text[:40]))
    return int(text)


def word(given: Mapping[str, str], name: str, allowed: list[str]) -> str:
    """The word ``name``, which must be one of ``allowed``; empty where it is not given. Raises BadParameter."""
    text = given.get(name, "").strip()
    if text and text not in allowed:
        raise BadParameter(
            _("“{name}” must be one of {allowed}, not “{text}”.").format(
                name=name, allowed=", ".join(allowed), text=text[:40]
            )
        )
    return text


def name_of(given: Mapping[str, str], name: str) -> str:
    """The free text ``name``; empty where it is not given. Raises BadParameter for what no database can hold."""
    text = given.get(name, "")
    if "\x00" in text:
        raise BadParameter(_("“{name}” must not contain a NUL character.").format(name=name))
    return text


def short(text: str, chars: int) -> str:
    """The first ``chars`` characters of a text, stripped, and without NUL, which no database can hold."""
    return text.replace("\0", "").strip()[:chars]


def moment(given: Mapping[str, str], name: str) -> datetime | None:
    """The time ``name`` as a browser's field sends it, in UTC without an offset; None where it is not given.

    Raises BadParameter.
    """
    text = given.get(name, "").strip()
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadParameter(
            _("“{name}” must be a time like 2026-11-25T10:00 (UTC), not “{text}”.").format(name=name, text=text[:40])
        ) from None
