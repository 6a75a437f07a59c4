"""What all tests share: the rule about browsers, and the database between tests. Settings are kept apart by
``tests.support.isolation``. The suite runs in four processes, a file of tests in one of them.
"""

import os
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.color import no_style
from django.db import connection
from django.db.models import Model
from django.test import TransactionTestCase

# Also because its pytest plugin imports it below many frames, where Python 3.11's compiler can give up.
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from errorkernel.models import Counter
from tests.support.product import CHROMIUM

TESTS = Path(__file__).parent
HOW = "Debian: apt-get install chromium-headless-shell"

# Who runs the suite as a background job of a shell has these ignored; programs that tests start would inherit that.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


LONG = (
    "browser/test_journeys", "browser/test_accessibility", "e2e/openapi/test_changes", "e2e/test_main_path",
    "e2e/test_crashes", "e2e/test_rules", "e2e/openapi/test_reads", "browser/test_live_page",
    "e2e/chaos/test_short_run", "browser/test_hostile_texts", "e2e/test_outage", "e2e/openapi/",
    "e2e/test_doctor", "e2e/test_run_crashes",
    "e2e/test_http", "e2e/run/test_programs", "e2e/steward/test_ingest", "e2e/test_requeue", "e2e/test_packaging",
    "integration/test_scale", "e2e/", "browser/",
)  # fmt: skip
"""The files that take longest begin first, so that none is left over for one process at the end; also directories."""

_groups: dict[type[Model], list[Model]] = {}
"""What migrations put into the tables of groups and their permissions."""
_KEPT = {"django_migrations", "django_content_type", "auth_permission"}
"""Tables that no test changes."""


# On a machine under load an example takes as long as it takes.
hypothesis_settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("tests")


def pytest_configure() -> None:
    """The tests' own SQLite need not survive a power cut: most of a commit's time is the disk's."""
    options = settings.DATABASES["default"].get("OPTIONS", {})
    if "init_command" in options:
        options["init_command"] = options["init_command"].replace("synchronous=FULL", "synchronous=OFF")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser its tests are skipped, said in one line; in CI that is a failure, not a skip."""
    for item in items:
        if item.get_closest_marker("browser") and not CHROMIUM and os.environ.get("CI") != "true":
            item.add_marker(pytest.mark.skip(reason=f"no chromium ({HOW})"))
    items.sort(key=lambda item: _place_of(item.path.relative_to(TESTS).with_suffix("").as_posix()))


def _place_of(file: str) -> int:
    return next((place for place, name in enumerate(LONG) if file.startswith(name)), len(LONG))


def _empty_tables(self: TransactionTestCase) -> None:
    """After a test that commits, in place of Django's ``flush``: that makes all content types and permissions again."""
    tables = [table for table in connection.introspection.django_table_names(only_existing=True) if table not in _KEPT]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables, allow_cascade=False))
    for model, rows in _groups.items():
        model._default_manager.bulk_create(rows)
    Counter.objects.bulk_create(
        Counter(name=name) for name in (Counter.EVENTS, Counter.CHANGES, Counter.NODES, Counter.RULES)
    )


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Between tests that commit, all tables are emptied; what forbids that of one is tried on a whole product."""
    with django_db_blocker.unblock():
        for model in (Group, Group.permissions.through):
            _groups[model] = list(model._default_manager.all())
    with django_db_blocker.unblock(), connection.schema_editor() as editor:
        import_module("errorkernel.migrations.0002_triggers_groups_counters").drop_audit_triggers(None, editor)
    TransactionTestCase._fixture_teardown = _empty_tables
