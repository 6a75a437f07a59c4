"""Completes the search syntax as one types: fields, operators and values, with the numbers of events that have them."""

import re
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, JsonResponse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from errorkernel.domain.problem_state import ProblemState
from errorkernel.domain.query.fields import FIELDS, INCIDENT_FIELDS, PROBLEM_FIELDS, TAG, TAG_FIELD, Field
from errorkernel.domain.query.parse import QUERY_MAX_CHARS
from errorkernel.domain.query.tree import LEVELS, Pattern
from errorkernel.domain.values import EventType
from errorkernel.models import Counter, ErrorEvent, Node, Problem, Process
from errorkernel.platform.parameters import name_of, number, word
from errorkernel.store import facets
from errorkernel.store.facets import EventFacets
from errorkernel.store.platform import counters
from errorkernel.store.problems import deciders
from errorkernel.store.search import known_releases
from errorkernel.templatetags.messages import translated
from errorkernel.web.auth.permissions import VIEW, needs

OPTIONS = 8
TAGS_READ = 200
"""Newest events whose tags are proposed."""
PAGES: dict[str, Mapping[str, Field]] = {"events": FIELDS, "problems": PROBLEM_FIELDS, "incidents": INCIDENT_FIELDS}
_WORD = re.compile(
    r"""(?:^|[\s(])-?(?P<word>(?:(?P<field>[A-Za-z_][\w.-]*)(?P<op>>=|<=|[:=<>]))?(?P<value>"[^"]*|[^\s()"]*))$"""
)


_TAG_NAME = re.compile("[A-Za-z0-9_.-]*[A-Za-z0-9_]")


@dataclass(frozen=True, slots=True)
class Option:
    """``insert`` takes the place of the word; ``count``: events with it among the newest, or None."""

    insert: str
    doc: str
    count: int | None = None


class Completion:
    """A request for proposals on one page."""

    def __init__(self, page: str) -> None:
        self.page = page

    @cached_property
    def counts(self) -> EventFacets | None:
        """Of the newest events, whatever the rest of the search says; None where the search finds no events."""
        if self.page != "events":
            return None
        newest = counters.current(Counter.EVENTS)
        return facets.event_facets(ErrorEvent.objects.filter(seq__gt=newest - facets.HITS_READ))


@needs(VIEW, "page", "q", "at")
def complete(request: HttpRequest) -> JsonResponse:
    """``from``: where the word begins that ends at ``at``; ``options``: what it may become, at most OPTIONS."""
    page = word(request.GET, "page", list(PAGES)) or "events"
    text = name_of(request.GET, "q")
    at = number(request.GET, "at")
    head = text[: len(text) if at is None else at]
    found = _WORD.search(head)
    if (
        len(text) > QUERY_MAX_CHARS
        or found is None
        or head[: found.start("word")].count('"') % 2
        or text[len(head) : len(head) + 1].strip()
    ):
        return JsonResponse({"from": len(head), "options": []})
    options: list[Option] = []
    for option in _options(Completion(page), found):
        if option.insert not in [known.insert for known in options]:
            options.append(option)
        if len(options) == OPTIONS:
            break
    shown = [{"insert": option.insert, "doc": option.doc, "count": option.count} for option in options]
    return JsonResponse({"from": found.start("word"), "options": shown})


def _can_complete(text: str, head: str, found: re.Match[str]) -> bool:
    """Whether the word is outside of quotes and ends where ``head`` does."""
    is_quoted = head[: found.start("word")].count('"') % 2
    return not is_quoted and not text[len(head) : len(head) + 1].strip()


def _options(completion: Completion, found: re.Match[str]) -> Iterator[Option]:
    fields = PAGES[completion.page]
    field, op, typed = found["field"], found["op"], found["value"].lstrip('"')
    if field is None:
        return _fields(completion, fields, typed)
    name = field if field.startswith(TAG) else field.lower()
    known = fields.get(TAG_FIELD if name.startswith(TAG) else name)
    if known is None or op not in known.operators:
        return iter(())
    return _values(completion, name, op, typed)


def _fields(completion: Completion, fields: Mapping[str, Field], typed: str) -> Iterator[Option]:
    """Fields that begin like this, levels first: they are searched for most."""
    start = typed.lower()
    if "level" in fields and "level".startswith(start):
        yield from _levels(completion)
    if TAG_FIELD in fields and start.startswith(TAG):
        yield from (Option(f"{TAG}{name}:", "", count) for name, count in _tag_names(typed[len(TAG) :]))
    for name, field in fields.items():
        shown = TAG if name == TAG_FIELD else f"{name}:"
        if shown.startswith(start) and name != "level" and shown != typed:
            yield Option(shown, translated(field.doc))
    if typed and "node" in fields:
        for field_name in ("node", "process"):
            yield from _values(completion, field_name, ":", typed)
    if typed and "text" in fields:
        insert = f"text:{Pattern((typed,)).spelled(as_word=False)}"
        yield Option(insert, _("text contains “{word}”").format(word=typed))


def _levels(completion: Completion) -> Iterator[Option]:
    counts = completion.counts.levels if completion.counts else None
    for least in ("error", "warning"):
        above = LEVELS[LEVELS.index(least) :]
        doc = _("{level} and above").format(level=least)
        yield Option(f"level>={least}", doc, sum(counts[level] for level in above) if counts else None)
    for level in ("warning", "critical"):
        yield Option(f"level:{level}", _("exactly this level"), counts[level] if counts else None)


def _values(completion: Completion, field: str, op: str, typed: str) -> Iterator[Option]:
    find = _tag_values(field) if field.startswith(TAG) else _FINDERS.get(field)
    for value, count in find(completion, typed) if find else ():
        # A comparison has more hits than its value.
        yield Option(f"{field}{op}{Pattern((value,)).spelled(as_word=False)}", "", count if op in ":=" else None)


Finder = Callable[[Completion, str], Iterable[tuple[str, int | None]]]


def _words(known: Iterable[str]) -> Finder:
    return lambda completion, typed: ((value, None) for value in known if value.startswith(typed.lower()))


def _counted(name: str, known: Callable[[str], Iterable[str]]) -> Finder:
    """Values of the newest events, those with most first, then others that are ``known``."""

    def find(completion: Completion, typed: str) -> Iterator[tuple[str, int | None]]:
        counts: Counts[str] = getattr(completion.counts, name) if completion.counts else Counts()
        yield from ((value, count) for value, count in counts.most_common() if _begins(value, typed))
        yield from ((value, 0 if completion.counts else None) for value in known(typed) if value not in counts)

    return find


def _begins(value: str, typed: str) -> bool:
    return value.lower().startswith(typed.lower())


def _names(rows: Any, column: str) -> Callable[[str], Iterable[str]]:
    def known(typed: str) -> Iterable[str]:
        found = rows().filter(**{f"{column}__istartswith": typed}).order_by(column)
        return list(found.values_list(column, flat=True).distinct()[:OPTIONS])

    return known


def _people(completion: Completion, typed: str) -> Iterator[tuple[str, int | None]]:
    names = ["me", "nobody", *deciders().values_list("username", flat=True)]
    return ((name, None) for name in names if _begins(name, typed))


def _tags() -> list[dict[str, str]]:
    return list(ErrorEvent.objects.order_by("-seq").values_list("tags", flat=True)[:TAGS_READ])


def _tag_names(typed: str) -> list[tuple[str, int]]:
    """Names that the syntax can express; ``typed``: their beginning."""
    known = (name for tags in _tags() for name in tags if _TAG_NAME.fullmatch(name) and _begins(name, typed))
    return Counts(known).most_common(OPTIONS)


def _tag_values(field: str) -> Finder:
    name = field.removeprefix(TAG)
    return lambda completion, typed: Counts(
        tags[name] for tags in _tags() if name in tags and _begins(tags[name], typed)
    ).most_common(OPTIONS)


_FINDERS: dict[str, Finder] = {
    "level": _counted("levels", lambda typed: [level for level in reversed(LEVELS) if level.startswith(typed.lower())]),
    "type": _words([kind.value for kind in EventType]),
    "state": _words([*(state.value for state in ProblemState), "*"]),
    "node": _counted("nodes", _names(Node.objects.all, "name")),
    "process": _counted("processes", _names(Process.objects.all, "name")),
    "release": _counted("releases", lambda typed: [name for name in known_releases() if _begins(name, typed)]),
    "kind": lambda completion, typed: ((kind, None) for kind in _names(Problem.objects.all, "kind")(typed)),
    "assigned": _people,
    "taken": _people,
    "since": _words(("15m", "1h", "24h", "7d")),
    "until": _words(("15m", "1h", "24h", "7d")),
}
