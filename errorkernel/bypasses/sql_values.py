"""Times and ids as the database drivers take and give them, the same on SQLite and PostgreSQL."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection


def moment(when: datetime | None) -> Any:
    """A time as the database's driver takes it."""
    return connection.ops.adapt_datetimefield_value(when)


def when(text: str) -> datetime:
    """A time that was read ``CAST(… AS text)``. SQLite's has no time zone and is UTC's; PostgreSQL's has the session's,
    which is UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def as_uuid(given: Any) -> UUID:
    """An id as the database's driver gives it: SQLite stores text only."""
    return given if isinstance(given, UUID) else UUID(given)
