"""What makes two events "the same error".

The sender may say so itself (``fingerprint``), or the known texts of Steward nodes. Otherwise: the kind, the
masked text (``masks``), and, where there is a stack trace, the place in the program that it names (``stack_traces``):
``list index out of range`` in two functions is two problems. Errors and incidents about the same failure share a
fingerprint; infos never mix with them.

The process and the node are *not* part of it: one fingerprint is one problem, fleet-wide, and an error state is
kept per (process, fingerprint).
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from errorkernel.domain import stack_traces
from errorkernel.domain.fingerprint import masks
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.values import Event, EventType

VERSION = "computed.2"
"""Stands in each computed key: another rule gives other keys, so that it never regroups existing problems silently."""
TITLE_CHARS = 1000

RECOGNISED = "steward"
"""First part of a fingerprint that was not given by a node: we read it out of the text of a Steward or ctrl node."""

SAME_PLACE = _("Same error type, same text after masking and same place in the program:")
SAME_MASKED = _("Same error type and same text after ids, times, addresses, paths and numbers are masked.")
GIVEN = _("Fingerprint set by the node:")
KNOWN = _("Known text of Steward:")
SAME_OF_STEWARD = _("Same text of a Steward node after masking.")
_SAME_MASKED = str(SAME_MASKED)
REASONS = (SAME_PLACE, SAME_MASKED, GIVEN, KNOWN, SAME_OF_STEWARD)
"""How every ``why`` begins. It is kept in English, and said in the reader's language where it is shown."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """``key``: 32 hex digits. ``title``: the masked text. ``why``: one sentence for the operator."""

    key: str
    title: str
    why: str


def group(event: Event) -> Grouping:
    """The group that ``event`` belongs to."""
    family = "info" if event.type is EventType.INFO else "failure"
    if event.fingerprint:
        return _given(family, event.fingerprint, event.kind, event.text[:TITLE_CHARS])
    place = stack_traces.place(event.stack) if event.stack else ""
    return _computed(family, event.kind, masks.window(event.text), place)


# A failing process repeats itself: most texts of a busy batch have been seen a moment ago.
@lru_cache(maxsize=2048)
def _computed(family: str, kind: str, text: str, place: str) -> Grouping:
    masked = masks.mask(text)
    why = f"{SAME_PLACE} {place}" if place else _SAME_MASKED
    return Grouping(_digest(family, VERSION, kind, place, masks.folded(masked)), masked[:TITLE_CHARS], why)


@lru_cache(maxsize=4096)
def _given(family: str, parts: tuple[str, ...], kind: str, text: str) -> Grouping:
    why = f"{GIVEN} {' · '.join(parts)}"
    if parts[0] == RECOGNISED:
        known = " · ".join(part for part in parts[1:] if part) if parts[1:2] != ("",) else ""
        why = f"{KNOWN} {known}" if known else str(SAME_OF_STEWARD)
    return Grouping(_digest(family, "given", *parts), masks.mask(text) or kind, why)


def _digest(*parts: str) -> str:
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
