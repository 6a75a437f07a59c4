"""Every operation and list that there is: the product's own, and what packages add that ``web`` does not import."""

from typing import Any

import msgspec
from django.db.models import Model
from django.urls import URLPattern

from errorkernel.web.operations import (
    bulk_decisions,
    dead_letters,
    incidents,
    problems,
    rules,
    saved_searches,
)
from errorkernel.web.operations.listing import Listing
from errorkernel.web.operations.lists import LISTS
from errorkernel.web.operations.operation import Operation

operations: list[Operation[Any]] = [
    *incidents.OPERATIONS,
    *bulk_decisions.OPERATIONS,
    *dead_letters.OPERATIONS,
    *problems.OPERATIONS,
    *rules.OPERATIONS,
    *saved_searches.OPERATIONS,
]
lists: list[Listing] = [*LISTS]
pages: list[URLPattern] = []
explained_by: dict[type[msgspec.Struct], type[Model]] = {}
"""Shape → the table whose help texts explain its fields."""


def register(
    *,
    operations_added: tuple[Operation[Any], ...],
    lists_added: tuple[Listing, ...],
    pages_added: tuple[URLPattern, ...],
    shapes_added: dict[type[msgspec.Struct], type[Model]],
) -> None:
    """Add what another package brings; called when the addresses are put together (``steward_site.urls``)."""
    operations.extend(operations_added)
    lists.extend(lists_added)
    pages.extend(pages_added)
    explained_by.update(shapes_added)
