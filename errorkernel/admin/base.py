"""Shared parts of the admin's pages: bounded lists, read-only history, safe display of texts from nodes.

Texts from nodes may be hostile: they are escaped, truncated, and cannot change the writing direction of the page.
Tables may hold millions of rows, so nothing here counts or sorts them all.
"""

from collections.abc import Callable
from datetime import UTC
from functools import partial, update_wrapper
from typing import Any

from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from errorkernel.admin.lists import BoundedList, BoundedPaginator, TimeFilter
from errorkernel.store.platform.actor import Actor
from errorkernel.templatetags.console import visible

EXCERPT_CHARS = 100


def excerpt(field: str, name: str = "", ordering: str | None = None) -> Callable[[Any, models.Model], SafeString]:
    """A column with the beginning of a foreign text. It is isolated from the surrounding text; invisible characters and
    those that change the writing direction are written out."""

    @admin.display(description=name or field.replace("_", " "), ordering=ordering)
    def column(_: Any, row: models.Model) -> SafeString:
        return cut(getattr(row, field) or "")

    return column


def cut(written: object) -> SafeString:
    """The beginning of a foreign text, as ``excerpt`` shows it."""
    text = visible(written)
    return format_html("<bdi>{}</bdi>", text[:EXCERPT_CHARS] + "…" if len(text) > EXCERPT_CHARS else text)


def moment(field: str, name: str, ordering: str | None) -> Callable[[Any, models.Model], SafeString | None]:
    """A column with a time on one or two lines."""

    @admin.display(description=name, ordering=ordering)
    def column(_: Any, row: models.Model) -> SafeString | None:
        at = getattr(row, field)
        return at and format_html("<time>{}</time> <time>{}</time>", *f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}".split())

    return column


def shown(data: bytes | memoryview) -> SafeString:
    """Bytes as text if they are text, else as a hexadecimal dump."""
    data = bytes(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        lines = (data[at : at + 16] for at in range(0, len(data), 16))
        text = "\n".join(
            f"{line.hex(' '):<47}  {''.join(chr(byte) if 32 <= byte < 127 else '.' for byte in line)}" for line in lines
        )
    return format_html("<pre><bdi>{}</bdi></pre>", visible(text))


def written_out(row: models.Model, depth: int = 2) -> None:
    """Write out invisible characters and direction changes in the texts of the row and of the rows it refers to. For a
    page that never saves them."""
    for field in row._meta.concrete_fields:
        value = getattr(row, field.name)
        if isinstance(value, models.Model):
            if depth and row._meta.app_label == value._meta.app_label:
                written_out(value, depth - 1)
        elif not field.primary_key:
            setattr(row, field.name, _written_out(value))


def _written_out(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(key): _written_out(item) for key, item in value.items()}
    return [_written_out(item) for item in value] if isinstance(value, list) else value


def actor_of(request: HttpRequest) -> Actor:
    """The user of the admin as an actor."""
    user = request.user
    assert not isinstance(user, AnonymousUser), "the admin is for people who are logged in"  # noqa: S101
    return Actor.person(user, f"{request.META.get('REMOTE_ADDR', '?')} admin", timezone.now())


class Admin(admin.ModelAdmin):
    """Reads a bounded number of rows. ``console``: (URL name, field) of the console's page of a row."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedList]:
        return BoundedList

    console: tuple[str, str] | None = None

    def get_view_on_site_url(self, obj: models.Model | None = None) -> str | None:
        if self.console is None or obj is None:
            return None
        name, field = self.console
        return reverse(name, args=[getattr(obj, field)])


class History(Admin):
    """Read-only for all users, also for superusers.

    All texts and names are shown as ``excerpt`` does in lists, and as ``written_out`` does on a row's page.
    """

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self._columns = [self._column(name) for name in self.list_display]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self._columns

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """With a filter by the first time that the list shows."""
        times = {field.name for field in self.model._meta.fields if isinstance(field, models.DateTimeField)}
        shown_times = [name for name in self.list_display if name in times]
        return [*self.list_filter, *((name, TimeFilter) for name in shown_times[:1])]

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            written_out(found)
        return found

    def _column(self, name: Any) -> Any:
        known = {model_field.name: model_field for model_field in self.model._meta.fields}
        field = known.get(name) if isinstance(name, str) else None
        ordering = name if self.sortable_by is None or name in self.sortable_by else None
        if isinstance(field, models.DateTimeField):
            column = moment(name, f"{field.verbose_name} (UTC)", ordering)
        elif isinstance(field, models.CharField | models.TextField | models.ForeignKey) and not field.choices:
            column = excerpt(name, ordering=ordering)
        else:
            return name
        bound = partial(column, self)
        return update_wrapper(bound, column)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
