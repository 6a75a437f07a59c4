"""Whether the tables of a database are those of this version."""

import pkgutil
import sqlite3

from django.db import DatabaseError, connection
from django.db.migrations.recorder import MigrationRecorder

from errorkernel import migrations

_APP = "errorkernel"
_BASELINE = "0002_triggers_groups_counters"
"""Applied to every database that was made by version 0.2.0 or later."""
_TABLE_PREFIX = f"{_APP}_"


def incompatibility() -> str | None:
    """Why this version cannot use the database, and what to do, in one sentence; None where it can.

    A database without tables of ours can be used. Raises DatabaseError where it cannot be read.
    """
    applied = {name for app, name in MigrationRecorder(connection).applied_migrations() if app == _APP}
    unknown = applied - {module.name for module in pkgutil.iter_modules(migrations.__path__)}
    name = connection.settings_dict["NAME"]
    if unknown and _BASELINE in applied:
        return (
            f"The database {name} was upgraded by a newer version (it has {max(unknown)}): install that version,"
            " or restore a backup that this version made."
        )
    if unknown or (not applied and _has_tables()):
        return (
            f"The database {name} was made before version 0.2.0, which cannot upgrade it: move it away and start"
            " again, or name another with STEWARD_DATABASE_URL or --data-dir."
        )
    return None


def _has_tables() -> bool:
    return any(table.startswith(_TABLE_PREFIX) for table in connection.introspection.table_names())


def is_damage(exc: Exception) -> bool:
    """Whether the database can be reached and its file cannot be read: a corrupt page, or no database at all."""
    # SQLite's errors for both have no class of their own; those of statements, locks and values have.
    return type(exc) in (DatabaseError, sqlite3.DatabaseError)


def unusable(exc: Exception) -> str:
    """Why the database cannot be used, and what to do, in one or two sentences."""
    name, reason = connection.settings_dict["NAME"], (str(exc).splitlines() or [repr(exc)])[0].rstrip(".")
    if is_damage(exc):
        return (
            f"The database {name} is damaged ({reason}). Stop Steward and restore the latest backup, or move the file"
            " away to start with an empty one; `steward doctor` checks it."
        )
    return f"The database {name} cannot be used: {reason}. Run `steward doctor`."
