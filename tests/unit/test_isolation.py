"""Tests must never touch the data of whoever runs them."""

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from errorkernel.platform import conf
from tests.support.isolation import DATA_DIR
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S


def test_settings_were_read_from_a_directory_of_the_run() -> None:
    assert conf.get().data_dir == DATA_DIR
    assert conf.get().database_url == ""
    assert DATA_DIR in Path(settings.DATABASES["default"]["TEST"]["NAME"] or DATA_DIR / "memory").parents


def test_environment_of_a_real_installation_is_ignored(tmp_path: Path) -> None:
    real = tmp_path / "real"
    environ = os.environ | {"STEWARD_DATA_DIR": str(real), "STEWARD_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}
    environ |= {"HOME": str(tmp_path / "home"), "XDG_DATA_HOME": str(tmp_path / "xdg")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "settings"],
        cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert list(tmp_path.iterdir()) == []
