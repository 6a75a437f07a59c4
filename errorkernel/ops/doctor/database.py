"""Checks of the database: reachable, migrated, as safe as promised, consistent with itself."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max

from errorkernel.domain.incident_state import State
from errorkernel.models import Counter, ErrorEvent, Incident
from errorkernel.ops.doctor.report import Check, bytes_of, failed, ok, warning
from errorkernel.store.platform import schema

QUICK_CHECK_S = 10.0
"""A large database takes minutes; what is not done by then is said."""
_MIGRATE = "Run `steward migrate` (or `steward up`, which does it at its start)."
_RESTORE = "Restore the latest backup; the nodes send again what they still have."


def checks() -> Iterator[Check]:
    """Stops at the first check without which the others mean nothing."""
    for look in (_reachable, _migrated):
        found = look()
        yield found
        if found.remedy:
            return
    for name, look in (
        ("durability", _durable),
        ("integrity", _intact),
        ("counters", _counters),
        ("administrator", _administrator),
    ):
        yield guarded(name, look)


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """What ``look`` finds; a database that fails while it is looked at is a finding too."""
    try:
        return look()
    except DatabaseError as exc:
        return failed(name, f"the query failed: {_first_line(exc)}", _RESTORE)


def is_usable() -> bool:
    """Whether the tables can be queried."""
    return not (_reachable().remedy or _migrated().remedy)


def _name() -> str:
    return f"{connection.vendor} {connection.settings_dict['NAME']}"


def _reachable() -> Check:
    # SQLite would make an empty file where there is none.
    if connection.vendor == "sqlite" and not Path(str(connection.settings_dict["NAME"])).exists():
        return failed("database", f"{_name()} does not exist yet", _MIGRATE)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as exc:
        remedy = "Start the database, and compare STEWARD_DATABASE_URL with its address."
        if connection.vendor == "sqlite":
            remedy = f"Make the file readable and writable for this user. If it is damaged: {_RESTORE}"
        return failed("database", f"{_name()} cannot be used: {_first_line(exc)}", remedy)
    return ok("database", f"{_name()} answers")


def _migrated() -> Check:
    try:
        if why := schema.incompatibility():
            return failed("migrations", "they are of another version", why)
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as exc:
        return failed("migrations", f"cannot be read: {_first_line(exc)}", _RESTORE)
    if missing:
        first, _ = missing[0]
        return failed("migrations", f"{len(missing)} are not applied, the first is {first}", _MIGRATE)
    return ok("migrations", "all are applied")


def _durable() -> Check:
    name = "durability"
    if connection.vendor != "sqlite":
        found = {name: _ask(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
        wrong = [f"{name} = {value}" for name, value in found.items() if value == "off"]
        if wrong:
            return failed(name, f"a power cut may lose commits: {', '.join(wrong)}", "Set them to on.")
        return ok(name, "fsync and synchronous_commit are on")
    journal, synchronous = _ask("PRAGMA journal_mode"), _ask("PRAGMA synchronous")
    if journal != "wal":
        return failed(
            name,
            f"the journal mode is {journal}, not wal",
            "Move the data directory to a local disk; network shares do not support it.",
        )
    if int(synchronous) < 2:
        return failed(name, "commits are not synced to disk", "Remove other settings of the database connection.")
    return ok(name, "write-ahead log, every commit synced to disk")


def _intact() -> Check:
    if connection.vendor != "sqlite":
        return ok("integrity", "not checked: PostgreSQL checks its own files")
    until = time.monotonic() + QUICK_CHECK_S
    connection.ensure_connection()
    connection.connection.set_progress_handler(lambda: time.monotonic() > until, 100_000)
    try:
        found = _ask("PRAGMA quick_check(1)")
    except DatabaseError as exc:
        if time.monotonic() > until:
            size = bytes_of(Path(str(connection.settings_dict["NAME"])).stat().st_size)
            return ok("integrity", f"no damage found within {QUICK_CHECK_S:.0f} s; checking all {size} takes longer")
        return failed("integrity", f"the file is damaged: {_first_line(exc)}", _RESTORE)
    finally:
        connection.connection.set_progress_handler(None, 0)
    return ok("integrity", "the file is intact") if found == "ok" else failed("integrity", str(found), _RESTORE)


def _counters() -> Check:
    kept = dict(Counter.objects.values_list("name", "value"))
    used = {
        Counter.EVENTS: ErrorEvent.objects.aggregate(last=Max("seq"))["last"] or 0,
        Counter.CHANGES: Incident.objects.aggregate(last=Max("change"))["last"] or 0,
    }
    behind = [f"{name} is at {kept.get(name, 0)}, but {last} is in use" for name, last in used.items()
              if kept.get(name, 0) < last]  # fmt: skip
    if behind:
        return failed("counters", "; ".join(behind), _RESTORE)
    decided = Incident.objects.exclude(state__in=[State.OPEN, State.WITHDRAWN]).filter(decision__isnull=True).count()
    if decided:
        return failed("counters", f"{decided} incidents are decided but have no decision", _RESTORE)
    return ok("counters", f"{kept.get(Counter.EVENTS, 0)} events, {kept.get(Counter.CHANGES, 0)} changes")


def _administrator() -> Check:
    if get_user_model().objects.filter(is_superuser=True, is_active=True).exists():
        return ok("administrator", "there is an active administrator")
    return warning("administrator", "no active account is an administrator", "Run `steward createsuperuser`.")


def _ask(statement: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[0])


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [repr(exc)])[0]
