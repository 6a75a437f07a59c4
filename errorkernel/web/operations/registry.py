"""All operations, lists and pages: the product's own, and those of packages that ``web`` does not import."""

from typing import Any

import msgspec
from django.urls import URLPattern

from errorkernel.web.operations import (
    bulk_decisions,
    dead_letters,
    deadlines,
    incidents,
    problem_changes,
    problems,
    reads,
    rules,
    saved_searches,
    triage,
)
from errorkernel.web.operations.listing import Listing
from errorkernel.web.operations.lists import LISTS
from errorkernel.web.operations.operation import Operation


class Registry:
    """Packages register while ``steward_site.urls`` is imported. The first read closes the registry.

    Without that, an address list that is built too early would omit a package's addresses, and nobody would notice.
    """

    def __init__(self, operations: tuple[Operation[Any], ...], lists: tuple[Listing, ...]) -> None:
        self._operations = operations
        self._lists = lists
        self._pages: tuple[URLPattern, ...] = ()
        self._shapes: tuple[type[msgspec.Struct], ...] = ()
        self._is_closed = False

    def register(
        self,
        *,
        operations: tuple[Operation[Any], ...],
        lists: tuple[Listing, ...],
        pages: tuple[URLPattern, ...],
        shapes: tuple[type[msgspec.Struct], ...],
    ) -> None:
        """Add what a package brings. ``shapes``: those that are parts of others.

        Raises RuntimeError after the first read.
        """
        if self._is_closed:
            raise RuntimeError(
                "Operations cannot be registered now: the addresses have been read. "
                "Import steward_site.urls before errorkernel.web.urls and errorkernel.web.api.urls."
            )
        self._operations += operations
        self._lists += lists
        self._pages += pages
        self._shapes += shapes

    @property
    def operations(self) -> tuple[Operation[Any], ...]:
        self._is_closed = True
        return self._operations

    @property
    def lists(self) -> tuple[Listing, ...]:
        self._is_closed = True
        return self._lists

    @property
    def pages(self) -> tuple[URLPattern, ...]:
        self._is_closed = True
        return self._pages

    @property
    def shapes(self) -> tuple[type[msgspec.Struct], ...]:
        self._is_closed = True
        return self._shapes


registry = Registry(
    (
        *reads.OPERATIONS,
        *incidents.OPERATIONS,
        *bulk_decisions.OPERATIONS,
        *dead_letters.OPERATIONS,
        *deadlines.OPERATIONS,
        *problems.OPERATIONS,
        *problem_changes.OPERATIONS,
        *rules.OPERATIONS,
        *saved_searches.OPERATIONS,
        *triage.OPERATIONS,
    ),
    LISTS,
)
