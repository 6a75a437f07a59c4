"""What all tests share: a data dir of their own before any setting is read, and the rule about browsers."""

import os
import shutil
import tempfile

# Settings are read when Django is first imported, so this comes before everything else.
_DATA_DIR = tempfile.mkdtemp(prefix="steward-tests-")
for name in [name for name in os.environ if name.startswith("STEWARD_")]:
    del os.environ[name]
os.environ["STEWARD_DATA_DIR"] = _DATA_DIR

# Its pytest plugin imports it at the very end, below many frames, where Python 3.11's compiler can give up.
import hypothesis  # noqa: F401
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HOW = "Debian: apt-get install chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser its tests are skipped, said in one line; in CI that is a failure, not a skip."""
    if CHROMIUM or os.environ.get("CI") == "true":
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=f"no chromium ({HOW})"))


def pytest_unconfigure() -> None:
    shutil.rmtree(_DATA_DIR, ignore_errors=True)
