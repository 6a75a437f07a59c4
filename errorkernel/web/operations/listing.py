"""One declaration per list of the JSON API: keyset pages over one unique growing number each.

``after`` is the last number that a client has seen; ``next`` is the value of ``after`` for the next page, or null at
the end. Oldest first unless ``order=desc``. Events are ordered by ``seq``; incidents by the number of their last
change, so that a request after the last one returns exactly the later changes; everything else by its primary key.

A page is bounded three ways: by ``limit``, by its size in bytes, and for a query by the number of searched events. So a
page may have fewer items than the limit, or none, although ``next`` is set: continue until ``next`` is null.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict

from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.api_requests import ApiError, as_json, for_operators

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
PAGE_BYTES = 8 * 1024 * 1024
NUMBER_MAX = 2**63 - 1
_READ_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Page:
    """The requested page; ``after`` None: from the start."""

    after: int | None
    limit: int
    descending: bool

    @classmethod
    def of(cls, given: QueryDict) -> "Page":
        """Raises ApiError (400)."""
        limit = read_number(given, "limit")
        if limit is not None and not 1 <= limit <= LIMIT_MAX:
            raise ApiError(400, f"limit is from 1 to {LIMIT_MAX}.")
        order = parameter(given, "order", "asc")
        if order not in ("asc", "desc"):
            raise ApiError(400, "order is asc or desc.")
        return cls(read_number(given, "after"), limit or LIMIT_DEFAULT, order == "desc")


@dataclass(frozen=True, slots=True)
class Filter:
    """A parameter that filters a list. ``apply`` gets the rows, the value (not empty) and the time."""

    name: str
    description: str
    schema: dict[str, Any]
    apply: Callable[[QuerySet[Any], str, datetime], QuerySet[Any]]
    is_list: bool = False
    may_be_empty: bool = True


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that one request searches; ``scanned_to``: the last searched number if more follow."""

    rows: QuerySet[Any]
    scanned_to: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """``rows``: gets the key in the route, if there is one; raises ApiError (404)."""

    name: str
    """Of the operation in the OpenAPI document."""
    summary: str
    route: str
    permission: str
    item: type[msgspec.Struct]
    encode: Callable[[Any, datetime], Any]
    rows: Callable[..., QuerySet[Any]]
    order_by: str = "id"
    filters: tuple[Filter, ...] = ()
    filter_together: Callable[[Mapping[str, str]], QuerySet[Any]] | None = None
    """The rows by the values of all filters, if separate filters would be slow."""
    search: Callable[[QuerySet[Any], str, Page, datetime], Window] | None = None
    """The rows that the parameter ``q`` matches."""
    search_schema: dict[str, Any] | None = None

    @property
    def has_key(self) -> bool:
        return "<" in self.route


def listing_view(listing: Listing) -> Callable[..., HttpResponse]:
    @for_operators(listing.permission)
    def view(request: HttpRequest, actor: Actor, /, **key: str) -> HttpResponse:
        given, now = request.GET, actor.at
        query = parameter(given, "q").strip()
        if query and listing.search is None:
            # An ignored filter would return wrong results.
            names = ", ".join(narrow.name for narrow in listing.filters) or "none"
            raise ApiError(400, f"This list has no parameter q. Filters: {names}.")
        values = {narrow.name: value for narrow in listing.filters if (value := parameter(given, narrow.name))}
        if listing.filter_together:
            rows = listing.filter_together(values)
        else:
            rows = listing.rows(*map(_key, key.values()))
            for narrow in listing.filters:
                if narrow.name in values:
                    value = values[narrow.name]
                    # No database stores a NUL.
                    rows = rows.none() if "\0" in value else narrow.apply(rows, value, now)
        page, window = Page.of(given), Window(rows)
        if query and listing.search:
            window = listing.search(rows, query, page, now)
        return _answer(listing, window, page, now)

    return view


def _answer(listing: Listing, window: Window, page: Page, now: datetime) -> HttpResponse:
    key, rows = listing.order_by, window.rows
    if page.after is not None:
        rows = rows.filter(**{f"{key}__{'lt' if page.descending else 'gt'}": page.after})
    # One more than the limit shows whether there is a next page.
    found = rows.order_by(f"-{key}" if page.descending else key)[: page.limit + 1]
    chunks = found.iterator(chunk_size=_READ_AT_ONCE)
    items, has_more = _bounded(chunks, page.limit, lambda row: listing.encode(row, now))
    following = getattr(items[-1][0], key) if has_more else window.scanned_to
    return as_json(200, {"items": [encoded for _, encoded in items], "next": following})


def _bounded(rows: Iterable[Any], limit: int, item: Callable[[Any], Any]) -> tuple[list[tuple[Any, msgspec.Raw]], bool]:
    """Rows and their JSON up to limit and size, at least one; and whether more follow."""
    taken: list[tuple[Any, msgspec.Raw]] = []
    size = 0
    for row in rows:
        if len(taken) == limit or size >= PAGE_BYTES:
            return taken, True
        encoded = msgspec.json.encode(item(row))
        size += len(encoded)
        taken.append((row, msgspec.Raw(encoded)))
    return taken, False


def _key(text: str) -> int:
    """The key in the address. Raises ApiError (404)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise ApiError(404, "There is nothing at this address.")
    return min(int(text), NUMBER_MAX)


def parameter(given: QueryDict, name: str, otherwise: str = "") -> str:
    """The parameter, or ``otherwise``. Raises ApiError (400) if it is given twice."""
    values = given.getlist(name)
    if len(values) > 1:
        raise ApiError(400, f"{name} is given {len(values)} times.")
    return values[0] if values else otherwise


def read_number(given: QueryDict, name: str) -> int | None:
    """Raises ApiError (400)."""
    text = parameter(given, name).strip()
    return parse_number(text, name) if text else None


def parse_number(text: str, name: str) -> int:
    """Raises ApiError (400)."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= NUMBER_MAX):
        raise ApiError(400, f"{name} is a whole number.")
    return int(text)


# Filters


def column(name: str, path: str, description: str) -> Filter:
    """The rows whose column has the value."""
    schema = {"type": "string"}
    return Filter(name, description, schema, lambda rows, value, now: rows.filter(**{path: value}), may_be_empty=False)


def states(known: Iterable[str], schema: dict[str, Any]) -> Filter:
    """The rows in one of the states, separated by commas."""
    allowed = list(known)

    def apply(rows: QuerySet[Any], value: str, now: datetime) -> QuerySet[Any]:
        wanted = [state for state in value.split(",") if state]
        if unknown := [state for state in wanted if state not in allowed]:
            raise ApiError(400, f"{unknown[0][:40]!r} is no state; there are {', '.join(allowed)}.")
        return rows.filter(state__in=wanted) if wanted else rows

    text = "Only in these states, with commas between them"
    return Filter("state", text, {"type": "array", "items": schema}, apply, is_list=True)
