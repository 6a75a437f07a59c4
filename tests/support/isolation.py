"""Loaded by ``-p`` in pytest's options, before pytest-django reads the settings, which happens before any conftest.

Without it a test run would use the data directory, the database and the broker of whoever runs it. The run's database
is SQLite; with ``TEST_DATABASE=postgres`` in the environment it is a PostgreSQL that the run starts.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

POSTGRES_URL = "TEST_POSTGRES_URL"
"""Tells the processes that share the tests of the PostgreSQL that the first one has started."""

for _name in [name for name in os.environ if name.startswith("STEWARD_")]:
    del os.environ[_name]
DATA_DIR = Path(tempfile.mkdtemp(prefix="steward-tests-"))
os.environ["STEWARD_DATA_DIR"] = str(DATA_DIR)
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)


def _use_postgres() -> None:
    from tests.support import postgres

    if POSTGRES_URL not in os.environ:
        try:
            os.environ[POSTGRES_URL] = postgres.start()
        except postgres.NoPostgres as exc:
            sys.exit(str(exc))
    os.environ["STEWARD_DATABASE_URL"] = os.environ[POSTGRES_URL]


if os.environ.get("TEST_DATABASE") == "postgres":
    _use_postgres()
