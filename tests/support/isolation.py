"""Loaded by ``-p`` in pytest's options, before pytest-django reads the settings, which happens before any conftest.

Without it a test run would use the data directory, the database and the broker of whoever runs it.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

for _name in [name for name in os.environ if name.startswith("STEWARD_")]:
    del os.environ[_name]
DATA_DIR = Path(tempfile.mkdtemp(prefix="steward-tests-"))
os.environ["STEWARD_DATA_DIR"] = str(DATA_DIR)
atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
