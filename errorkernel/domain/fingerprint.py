"""What makes two events "the same error".

The node may say so itself (``fingerprint``), or what is known of a Steward node's texts (``steward_text``). Otherwise:
the kind and the text with everything masked that differs between two occurrences of one cause: ids, times, addresses,
paths, numbers. Errors and questions about the same failure share a fingerprint; infos never mix with them.

The process and the node are *not* part of it: one fingerprint is one problem, fleet-wide, and an error state is
kept per (process, fingerprint).
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.values import Event, EventType

MASKED_CHARS = 1000
"""Only the beginning of a text takes part: what follows is usually a dump, which differs every time."""

# Most words of an error text are plain words. Only those that hold a digit, a slash, an @ or a :: can need a mask,
# and finding that out costs a fraction of trying every mask at every letter.
_SUSPECT = re.compile(r"[\d/\\@]|::")
_ASCTIME = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}")
# One alternation, tried left to right at each place, so that the most specific mask wins and a word is scanned once.
_MASKS = re.compile(
    r"""
      \b(?:
          (?P<uuid>[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\b)
        | (?P<url>[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s'"<>|]+)
        | (?P<time>\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?
            | \d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?(?!\w))
        | (?P<mail>[\w.+-]{1,64}@[\w-]+\.[\w.-]*\w)
        | (?P<addr>\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5}|/\d{1,2})?\b
            | (?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}\b
            | [0-9a-fA-F]{1,4}(?:::?[0-9a-fA-F]{1,4}){3,7}(?![\w:])
            | (?=[0-9a-fA-F:]*::)(?=[a-fA-F:]*\d)[0-9a-fA-F:]{3,39}(?![\w:]))
        | (?P<hex>0[xX][0-9a-fA-F]+\b | (?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b)
        | (?P<drive>[A-Za-z]:(?:[\\/][^\s\\/:'"<>|,;()\[\]]+)+)
        | (?P<float>\d+(?:[.,]\d+)*(?:[eE][+-]?\d+)?)
      )
    | (?P<path>(?<![\w/<.\\])(?:\.{1,2}|~)?(?:[/\\][^\s/\\:'"<>|,;()\[\]]+)+[/\\]?)
    | (?P<host>(?<![\w:])(?:\[[0-9a-fA-F:]{2,39}\](?::\d{1,5})?|::[0-9a-fA-F:]{1,37}(?![\w:])))
    | (?P<n>\d+)
    """,
    re.VERBOSE,
)
_SHOWN = {"drive": "path", "float": "n", "host": "addr"}
"""Groups that are one thing to a reader."""

RECOGNISED = "steward"
"""First part of a fingerprint that was not given by a node: we read it out of the text of a Steward or ctrl node."""

SAME_MASKED = _("Same error type and same text after ids, times, addresses, paths and numbers are masked.")
GIVEN = _("Fingerprint set by the node:")
KNOWN = _("Known text of Steward:")
SAME_OF_STEWARD = _("Same text of a Steward node after masking.")
REASONS = (SAME_MASKED, GIVEN, KNOWN, SAME_OF_STEWARD)
"""How every ``why`` begins. It is kept in English, and said in the reader's language where it is shown."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """``key``: 32 hex digits. ``title``: the masked text. ``why``: one sentence for the operator."""

    key: str
    title: str
    why: str


def mask(text: str) -> str:
    """``text`` with ids, times, addresses, paths and numbers replaced by what they are, and white space folded."""
    # White space is folded by the split, so an asctime's padded day must be found before it.
    dated = _ASCTIME.sub("<time>", text[:MASKED_CHARS])
    # isalpha costs a tenth of a search, and settles most words of a sentence.
    return " ".join(
        [word if word.isalpha() or not _SUSPECT.search(word) else _MASKS.sub(_name, word) for word in dated.split()]
    )


def _name(found: re.Match[str]) -> str:
    group_name = found.lastgroup or "n"
    return f"<{_SHOWN.get(group_name, group_name)}>"


def group(event: Event) -> Grouping:
    """The group that ``event`` belongs to."""
    family = "info" if event.type is EventType.INFO else "failure"
    if event.fingerprint:
        return _given(family, event.fingerprint, event.kind, event.text[:MASKED_CHARS])
    return _computed(family, event.kind, event.text[:MASKED_CHARS])


# A failing process repeats itself: most texts of a busy batch have been seen a moment ago.
@lru_cache(maxsize=4096)
def _computed(family: str, kind: str, text: str) -> Grouping:
    title = mask(text)
    return Grouping(_digest(family, "computed", kind, title), title, str(SAME_MASKED))


@lru_cache(maxsize=4096)
def _given(family: str, parts: tuple[str, ...], kind: str, text: str) -> Grouping:
    why = f"{GIVEN} {' · '.join(parts)}"
    if parts[0] == RECOGNISED:
        known = " · ".join(part for part in parts[1:] if part) if parts[1:2] != ("",) else ""
        why = f"{KNOWN} {known}" if known else str(SAME_OF_STEWARD)
    return Grouping(_digest(family, "given", *parts), mask(text) or kind, why)


def _digest(*parts: str) -> str:
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
