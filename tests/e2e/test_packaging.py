"""The wheel: built from the checkout, installed away from it, it brings everything that it needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_LOOK = """
import os, pathlib, sys
import django
from steward_site import settings
django.setup()
import errorkernel
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.test import RequestFactory

home = pathlib.Path(sys.argv[1])
assert home in pathlib.Path(errorkernel.__file__).parents, errorkernel.__file__
assert home in settings.ASSETS.parents, settings.ASSETS
for name in ("errorkernel/console.css", "errorkernel/stream.js", "errorkernel/favicon.svg", "admin/css/base.css"):
    assert finders.find(name), name
page = render_to_string("404.html", request=None)
assert "Steward" in page, page
from errorkernel.live.frames import event_part
print("looked")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # --no-isolation: the build tools are installed and pinned with everything else, so nothing is fetched.
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check",
         "--target", str(target), str(wheel)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return target


def run(installed: Path, data_dir: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("STEWARD_", "DJANGO_"))}
    environ |= {
        "PYTHONPATH": str(installed),
        "STEWARD_DATA_DIR": str(data_dir),
        "DJANGO_SETTINGS_MODULE": "steward_site.settings",
    }
    return subprocess.run(
        command, cwd=data_dir, env=environ, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def test_wheel_holds_every_template_and_static_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind in ("templates", "static"):
        files = [path for path in (ROOT / kind).rglob("*") if path.is_file() and path.suffix != ".pyc"]
        assert files
        missing = [path for path in files if f"steward_site/bundled/{path.relative_to(ROOT).as_posix()}" not in names]
        assert missing == []


def test_wheel_holds_every_module_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "errorkernel").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or name.endswith(".pyc")]


def test_wheel_runs_away_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    looked = run(installed, tmp_path, sys.executable, "-c", _LOOK, str(installed))
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.strip() == "looked"


def test_console_script_of_the_wheel_knows_our_commands(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "steward"
    helped = run(installed, tmp_path, sys.executable, str(script), "help")
    assert helped.returncode == 0, helped.stderr
    assert {"up", "web", "kernel", "node", "token"} <= set(helped.stdout.split())


def test_tables_can_be_made_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "steward"
    migrated = run(installed, tmp_path, sys.executable, str(script), "migrate", "--verbosity", "0")
    assert migrated.returncode == 0, migrated.stderr
    added = run(installed, tmp_path, sys.executable, str(script), "node", "add", "ship1", "--json")
    assert added.returncode == 0, added.stderr
    assert '"node": "ship1"' in added.stdout


def test_console_script_of_the_wheel_supervises_a_program_on_a_node(installed: Path, tmp_path: Path) -> None:
    script = installed / "bin" / "steward"
    given = tmp_path / "ship1.json"
    given.write_text('{"node": "ship1", "nats_url": "nats://127.0.0.1:9"}')
    options = ["--credentials", str(given), "--journal", str(tmp_path / "journal")]
    ran = run(installed, tmp_path, sys.executable, str(script), "run", *options, "--", "sh", "-c", "echo ran; exit 3")
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "ran\n", "")
    made = {path.name.partition("-")[0] for path in tmp_path.iterdir()}
    assert made == {"ship1.json", "journal", "journal.lock"}, "nothing of a data directory"
