"""What all tests share: the rule about browsers. Settings are kept apart by ``tests.isolation``."""

import os
import shutil

# Its pytest plugin imports it at the very end, below many frames, where Python 3.11's compiler can give up.
import hypothesis  # noqa: F401
import pytest
from django.db import connection

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOW = "Debian: apt-get install chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser its tests are skipped, said in one line; in CI that is a failure, not a skip."""
    if CHROMIUM or os.environ.get("CI") == "true":
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=f"no chromium ({HOW})"))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> None:
    """Between tests that commit, all tables are emptied; what forbids that of one is tried on a whole product."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        for verb in ("update", "delete"):
            cursor.execute(f"DROP TRIGGER audit_no_{verb}")
