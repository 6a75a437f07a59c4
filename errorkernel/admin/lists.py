"""Lists of the admin over tables of any size: bounded counts, filters by time, and links to the rows that follow."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import DateTimeField, Field, IntegerField, Model, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.functional import cached_property

COUNT_MAX = 10_000
"""Rows that a list counts, and that its pages reach; its last page leads to the rows after them."""


class AtLeast(int):
    """A count that was ended at this number."""

    def __str__(self) -> str:
        return f"more than {int(self):,}"


class BoundedPaginator(Paginator):
    """Counts no further than COUNT_MAX: counting a table of millions would take longer than showing its page."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        counted = rows.order_by()[: COUNT_MAX + 1].count() if isinstance(rows, QuerySet) else len(rows)
        return counted if counted <= COUNT_MAX else AtLeast(COUNT_MAX)


class BoundedList(ChangeList):
    """A list whose last page leads to the rows that its pages do not reach."""

    @property
    def is_cut(self) -> bool:
        return isinstance(self.result_count, AtLeast) and self.page_num == self.paginator.num_pages

    def following(self) -> str:
        """The query for the rows after the last one shown; empty where the order does not tell which those are."""
        first = next(iter(self.queryset.query.order_by), "")
        rows = list(self.result_list)
        if not isinstance(first, str) or not rows:
            return ""
        name = first.removeprefix("-")
        try:
            field: Any = self.opts.pk if name == "pk" else self.opts.get_field(name)
        except FieldDoesNotExist:
            return ""
        value = getattr(rows[-1], field.attname, None)
        lookup = "lt" if first.startswith("-") else "gt"
        if isinstance(field, DateTimeField) and value:
            # Rows of the same time may follow; some are shown again.
            return str(self.get_query_string({f"{field.name}__{lookup}e": value.isoformat()}, remove=[PAGE_VAR]))
        if isinstance(field, IntegerField):
            return str(self.get_query_string({f"{field.name}__{lookup}": value}, remove=[PAGE_VAR]))
        return ""


class TimeFilter(admin.FieldListFilter):
    """The rows of the last hour, day, week or month, or from one time to another (UTC)."""

    template = "admin/errorkernel/time_filter.html"
    spans = (
        ("hour", "Past hour", timedelta(hours=1)),
        ("day", "Past 24 hours", timedelta(days=1)),
        ("week", "Past 7 days", timedelta(days=7)),
        ("month", "Past 30 days", timedelta(days=30)),
    )

    def __init__(
        self,
        field: Field,
        request: HttpRequest,
        params: dict[str, Any],
        model: type[Model],
        model_admin: admin.ModelAdmin,
        field_path: str,
    ) -> None:
        self.within, self.begin, self.end = (f"{field_path}__{part}" for part in ("within", "from", "to"))
        self.others: list[tuple[str, str]] = []
        super().__init__(field, request, params, model, model_admin, field_path)

    def expected_parameters(self) -> list[str | None]:
        return [self.within, self.begin, self.end]

    def value(self, parameter: str) -> str:
        """The parameter's value in the address; empty: none."""
        given: Any = self.used_parameters.get(parameter) or [""]
        return str(given[-1])

    @property
    def range(self) -> tuple[str, str]:
        return self.value(self.begin), self.value(self.end)

    def choices(self, changelist: Any) -> Iterator[Any]:
        ours = self.expected_parameters()
        self.others = [
            (name, value)
            for name, values in changelist.params.items()
            if name not in ours and name != PAGE_VAR
            for value in (values if isinstance(values, list) else [values])
        ]
        chosen = self.value(self.within)
        for key, text, _ in (("", "Any time", None), *self.spans):
            selected = chosen == key and not any(self.range)
            query = changelist.get_query_string({self.within: key} if key else {}, [*ours, PAGE_VAR])
            yield {"selected": selected, "query_string": query, "display": text}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = self.value(self.within)
        spans = {key: span for key, _, span in self.spans}
        if chosen and chosen not in spans:
            raise IncorrectLookupParameters
        if chosen:
            queryset = queryset.filter(**{f"{self.field_path}__gte": timezone.now() - spans[chosen]})
        for text, lookup in zip(self.range, ("gte", "lt"), strict=True):
            if text:
                queryset = queryset.filter(**{f"{self.field_path}__{lookup}": _moment(text)})
        return queryset


def _moment(text: str) -> datetime:
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None:
        raise IncorrectLookupParameters
    return found if found.tzinfo else found.replace(tzinfo=UTC)
