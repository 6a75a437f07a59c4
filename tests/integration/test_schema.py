"""A database of another version is refused in one sentence, by whatever would use it, before anything is changed."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from errorkernel.ops.doctor import database
from errorkernel.store.platform import schema
from tests.support import initial_migration
from tests.support.paths import ROOT

OLD = "was made before version 0.2.0, which cannot upgrade it: move it away"
NEW = "was upgraded by a newer version (it has 0099_from_the_future): install that version"
LATER = sorted(path.name for path in initial_migration.FILE.parent.glob("0*.py"))[2:]
_KEPT = "SELECT name FROM django_migrations WHERE app = 'errorkernel' ORDER BY name"


def _execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _is_refused_by_all(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_KEPT)
        before = cursor.fetchall()
    assert text in (schema.incompatibility() or "")
    with pytest.raises(CommandError, match="database"):
        call_command("migrate", verbosity=0)
    assert text in database._migrated().remedy
    with connection.cursor() as cursor:
        cursor.execute(_KEPT)
        assert cursor.fetchall() == before


@pytest.mark.django_db
def test_a_database_of_this_version_is_used() -> None:
    assert schema.incompatibility() is None
    call_command("migrate", verbosity=0)


@pytest.mark.django_db
def test_a_database_from_before_the_squash_is_refused() -> None:
    _execute("DELETE FROM django_migrations WHERE app = 'errorkernel' AND name LIKE '0002%'")
    _execute(
        "INSERT INTO django_migrations (app, name, applied)"
        " VALUES ('errorkernel', '0002_groups_and_counters', '2026-11-24 09:00:00')"
    )
    _is_refused_by_all(OLD)


@pytest.mark.django_db
def test_tables_of_ours_without_a_migration_are_refused() -> None:
    _execute("DELETE FROM django_migrations WHERE app = 'errorkernel'")
    _is_refused_by_all(OLD)


@pytest.mark.django_db
def test_a_database_of_a_newer_version_is_refused() -> None:
    _execute(
        "INSERT INTO django_migrations (app, name, applied)"
        " VALUES ('errorkernel', '0099_from_the_future', '2027-01-01 00:00:00')"
    )
    _is_refused_by_all(NEW)


@pytest.mark.parametrize("command", [["up", "--port", "0"], ["web", "--port", "0"], ["kernel"], ["migrate"]])
def test_every_role_says_it_in_one_sentence(command: list[str], tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "steward.sqlite3") as db:
        db.execute("CREATE TABLE errorkernel_node (id integer PRIMARY KEY)")
    done = subprocess.run(
        [sys.executable, "manage.py", *command, "--data-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode != 0
    assert OLD in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.skipif(bool(LATER), reason="the models have had migrations since")
def test_the_initial_migration_is_that_of_the_models() -> None:
    assert initial_migration.FILE.read_text() == initial_migration.text()
