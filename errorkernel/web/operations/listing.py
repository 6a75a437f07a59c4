"""One declaration per list of the JSON API: keyset pages over one unique growing number each.

``after`` is the last number that a client has seen, ``next`` what to give as ``after`` for the following page, or null
at the end. ``last`` is never lost: a client that polls keeps it and gives it as ``after`` to get what came later.
Oldest first unless ``order=desc``. Events are ordered by ``seq``; incidents by the number of their last change, so that
asking again after the last one gives exactly what has changed since; everything else by its primary key.

A page is bounded three ways: by ``limit``, by its size in bytes, and for a query by the number of searched events. So a
page may have fewer items than the limit, or none, although ``next`` is set: continue until ``next`` is null.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict

from errorkernel.domain.query.parse import QueryError
from errorkernel.domain.refusals import OperationRefused
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.api_requests import as_read, check_parameters, for_operators
from errorkernel.web.operations.filters import NUMBER_MAX, Filter, read_number, read_word, single

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
PAGE_BYTES = 8 * 1024 * 1024
TOTAL_MAX = 100_000
"""So many rows are counted at most where a total is asked for."""
_READ_AT_ONCE = 100
_ORDERS = ("asc", "desc")


@dataclass(frozen=True, slots=True)
class Sort:
    """``column`` orders the list, ``key`` is the unique number by which it goes on: the same, or what breaks ties."""

    column: str
    key: str

    @property
    def is_unique(self) -> bool:
        return self.column == self.key


@dataclass(frozen=True, slots=True)
class Page:
    """The requested page; ``after`` None: from the start."""

    after: int | None
    limit: int
    descending: bool
    sort: Sort
    wants_total: bool = False

    @classmethod
    def of(cls, given: QueryDict, sorts: Mapping[str, Sort]) -> "Page":
        """Raises OperationRefused (400)."""
        limit = read_number(given, "limit", 1, LIMIT_MAX)
        order = read_word(given, "order", _ORDERS)
        sort = read_word(given, "sort", tuple(sorts)) or next(iter(sorts))
        wants_total = read_word(given, "total", ("true", "false")) == "true"
        after = read_number(given, "after", 0, NUMBER_MAX)
        return cls(after, limit or LIMIT_DEFAULT, order == "desc", sorts[sort], wants_total)


@dataclass(frozen=True, slots=True)
class Window:
    """The rows that one request looks at; where it ends if there is more behind it; the highest number that it covers,
    where that is known without an item; and what its total counts."""

    rows: QuerySet[Any]
    scanned_to: int | None = None
    covered_to: int | None = None
    counted: QuerySet[Any] | None = None
    counts_all: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """``rows``: gets the key of the thing that the list is of, if the route has one; raises OperationRefused (404)."""

    name: str
    """Of the operation in the OpenAPI document."""
    summary: str
    route: str
    permission: str
    item: type[msgspec.Struct]
    encode: Callable[[Any, datetime], Any]
    rows: Callable[..., QuerySet[Any]]
    order_by: str = "id"
    sorts: Mapping[str, Sort] = field(default_factory=dict)
    """Further orders by name, beside ``order_by``."""
    filters: tuple[Filter, ...] = ()
    filter_together: Callable[[Mapping[str, Any]], QuerySet[Any]] | None = None
    """The rows by the values of all filters, where one after the other would be slow."""
    search: Callable[[str, datetime, Actor], Q] | None = None
    """What the parameter ``q`` finds. Raises QueryError."""
    search_schema: dict[str, Any] | None = None
    bound: Callable[[QuerySet[Any], Page], Window] | None = None
    """Bounds how many rows a request with filters or a search looks at."""

    @property
    def has_key(self) -> bool:
        return "<" in self.route

    @property
    def all_sorts(self) -> Mapping[str, Sort]:
        return {self.order_by: Sort(self.order_by, self.order_by), **self.sorts}

    @property
    def parameters(self) -> tuple[str, ...]:
        own = ("after", "limit", "order", *(("sort",) if self.sorts else ()), "total")
        return (*own, *(("q",) if self.search else ()), *(narrow.name for narrow in self.filters))


def listing_view(listing: Listing) -> Callable[..., HttpResponse]:
    @for_operators(listing.permission)
    def view(request: HttpRequest, actor: Actor, /, **key: str) -> HttpResponse:
        given, now = request.GET, actor.at
        check_parameters(given, listing.parameters)
        page = Page.of(given, listing.all_sorts)
        values = {narrow.name: narrow.read(given) for narrow in listing.filters if narrow.name in given}
        condition = _condition(listing, given, actor)
        if listing.filter_together:
            rows = listing.filter_together(values)
        else:
            rows = listing.rows(*map(_key, key.values()))
            for narrow in listing.filters:
                if narrow.name in values:
                    rows = narrow.apply(rows, values[narrow.name], now)
        rows = rows if condition is None else rows.filter(condition)
        is_narrowed = condition is not None or bool(values)
        window = listing.bound(rows, page) if listing.bound and is_narrowed else Window(rows)
        return _answer(listing, window, page, now)

    return view


def _condition(listing: Listing, given: QueryDict, actor: Actor) -> Q | None:
    query = (single(given, "q") or "").strip()
    if not query or listing.search is None:
        return None
    try:
        return listing.search(query, actor.at, actor)
    except QueryError as exc:
        raise OperationRefused(str(exc), "invalid_search", "q", exc.position) from None


def _answer(listing: Listing, window: Window, page: Page, now: datetime) -> HttpResponse:
    key = page.sort.key
    rows = _behind(window.rows, page)
    sign = "-" if page.descending else ""
    order = [sign + page.sort.column] if page.sort.is_unique else [sign + page.sort.column, sign + key]
    # One more than is shown: whether there is a next page is known without counting.
    found = rows.order_by(*order)[: page.limit + 1]
    chunks = found.iterator(chunk_size=_READ_AT_ONCE)
    items, has_more = _bounded(chunks, page.limit, lambda row: listing.encode(row, now))
    following = getattr(items[-1][0], key) if has_more else window.scanned_to
    body: dict[str, Any] = {"items": [encoded for _, encoded in items], "next": following}
    if page.sort.is_unique:
        body["last"] = _last(window, page, [getattr(row, key) for row, _ in items], has_more)
    if page.wants_total:
        counted = window.rows if window.counted is None else window.counted
        total = counted.order_by()[: TOTAL_MAX + 1].count()
        body["total"] = min(total, TOTAL_MAX)
        body["total_exact"] = total <= TOTAL_MAX and window.counts_all
    return as_read(body)


def _behind(rows: QuerySet[Any], page: Page) -> QuerySet[Any]:
    """The rows that follow ``after``."""
    if page.after is None:
        return rows
    then = "lt" if page.descending else "gt"
    if page.sort.is_unique:
        return rows.filter(**{f"{page.sort.key}__{then}": page.after})
    column, key = page.sort.column, page.sort.key
    # By the present value of the row that was seen last: it may have changed meanwhile.
    value = rows.model._default_manager.filter(**{key: page.after}).values_list(column, flat=True).first()
    if value is None:
        raise OperationRefused("'after' names an item that does not exist any more.", "not_found", "after")
    return rows.filter(Q(**{f"{column}__{then}": value}) | Q(**{column: value, f"{key}__{then}": page.after}))


def _last(window: Window, page: Page, numbers: list[int], has_more: bool) -> int | None:
    """The highest number that the page covers; that of the request where it covers none."""
    if page.descending:
        return numbers[0] if numbers else None
    if not has_more and window.covered_to is not None:
        return max(window.covered_to, page.after or 0)
    return numbers[-1] if numbers else page.after


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
    """The key of what a list is of. Raises OperationRefused (404)."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise OperationRefused("There is nothing at this address.", "not_found")
    return min(int(text), NUMBER_MAX)
