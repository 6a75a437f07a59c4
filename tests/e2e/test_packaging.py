"""The wheel: built from the checkout, installed away from it, alone (a node) and with the extra ``server``.

Each installation is an empty virtual environment that gets the wheel and, as links, what the wheel's metadata requires
of the distributions that the tests run with. So nothing is fetched, and what is not required is not there.
"""

import email
import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

NAME = "steward-error-kernel"
OF_A_NODE = {NAME, "nats-py", "nkeys", "pynacl", "cffi", "pycparser", "msgspec"}
NODE_MAX_BYTES = 20_000_000
IMPORT_MAX_US = 150_000

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
for name in ("errorkernel/base.css", "errorkernel/event_stream.js", "errorkernel/favicon.svg", "admin/css/base.css"):
    assert finders.find(name), name
from django.contrib.staticfiles.storage import staticfiles_storage
hashed = staticfiles_storage.url("errorkernel/console.js")
assert hashed != "/static/errorkernel/console.js", hashed
assert staticfiles_storage.exists(hashed.removeprefix("/static/") + ".br")
page = render_to_string("404.html", request=None)
assert "Steward" in page and staticfiles_storage.url("errorkernel/console.css") in page, page
from errorkernel.live.rendering import render_rows
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
def on_node(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("node"), extra="")


@pytest.fixture(scope="module")
def on_server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("server"), extra="server")


def install(wheel: Path, home: Path, *, extra: str) -> Path:
    """Make a virtual environment at ``home`` that holds the wheel and what it requires; returns ``home``."""
    venv.create(home, symlinks=True)
    for distribution in required_by(wheel, extra):
        root = Path(str(distribution.locate_file("")))
        for name in {file if ".." in file.parts else Path(file.parts[0]) for file in distribution.files or []}:
            target = site_packages(home) / name
            if not target.exists() and (root / name).exists():
                target.symlink_to((root / name).resolve())
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", str(wheel)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return home


def required_by(wheel: Path, extra: str) -> list[importlib.metadata.Distribution]:
    """The distributions that the wheel needs with this extra, and what these need in turn."""
    archive = zipfile.ZipFile(wheel)
    [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    wanted = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    pending = [(Requirement(line), {"", extra}) for line in wanted]
    found: dict[str, importlib.metadata.Distribution] = {}
    while pending:
        requirement, extras = pending.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": each}) for each in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name not in found or requirement.extras:
            found[name] = importlib.metadata.distribution(name)
            assert requirement.specifier.contains(found[name].version), f"{requirement}: {found[name].version}"
            pending += [(Requirement(line), {"", *requirement.extras}) for line in found[name].requires or []]
    return list(found.values())


def site_packages(home: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))


def run(home: Path, data_dir: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the virtual environment: ``python`` or ``steward``."""
    prefixes = ("STEWARD_", "DJANGO_", "PYTHON")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}
    environ |= {"STEWARD_DATA_DIR": str(data_dir), "DJANGO_SETTINGS_MODULE": "steward_site.settings"}
    return subprocess.run(
        [home / "bin" / program, *arguments],
        cwd=data_dir, env=environ, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip


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


def test_wheel_says_that_it_is_typed(wheel: Path) -> None:
    assert "errorkernel/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_node_gets_the_client_and_nothing_of_the_server(on_node: Path) -> None:
    found = importlib.metadata.distributions(path=[str(site_packages(on_node))])
    assert {canonicalize_name(one.name) for one in found} == OF_A_NODE


def test_node_installation_is_small(on_node: Path) -> None:
    walk = os.walk(site_packages(on_node), followlinks=True)
    size = sum(os.path.getsize(os.path.join(directory, name)) for directory, _, names in walk for name in names)
    assert size <= NODE_MAX_BYTES


def test_client_is_imported_quickly_on_a_node(on_node: Path, tmp_path: Path) -> None:
    def import_us() -> int:
        timed = run(on_node, tmp_path, "python", "-X", "importtime", "-c", "import errorkernel.node")
        assert timed.returncode == 0, timed.stderr
        return int(timed.stderr.splitlines()[-1].split("|")[1])

    # The best of some: the first one compiles, and others may be using the machine.
    assert min(import_us() for _ in range(4)) < IMPORT_MAX_US


def test_every_name_of_the_client_works_on_a_node(on_node: Path, tmp_path: Path) -> None:
    program = (
        "import errorkernel.node, nkeys\n"
        "from errorkernel.node import *\n"
        "with BlockingKernel('ship1', 'nats://127.0.0.1:9', journal='journal') as kernel:\n"
        "    print(kernel.error('disk full'))\n"
    )
    reported = run(on_node, tmp_path, "python", "-c", program)
    assert reported.returncode == 0, reported.stderr
    assert len(reported.stdout.strip()) == 36


def test_node_supervises_a_program(on_node: Path, tmp_path: Path) -> None:
    given = tmp_path / "ship1.json"
    given.write_text('{"node": "ship1", "nats_url": "nats://127.0.0.1:9"}')
    options = ["--credentials", str(given), "--journal", str(tmp_path / "journal")]
    ran = run(on_node, tmp_path, "steward", "run", *options, "--", "sh", "-c", "echo ran; exit 3")
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "ran\n", "")
    made = {path.name.partition("-")[0] for path in tmp_path.iterdir()}
    assert made == {"ship1.json", "journal", "journal.lock"}, "nothing of a data directory"


@pytest.mark.parametrize("command", ["up", "doctor"])
def test_server_command_on_a_node_names_what_to_install(on_node: Path, tmp_path: Path, command: str) -> None:
    refused = run(on_node, tmp_path, "steward", command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "pip install 'steward-error-kernel[server]'" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_server_runs_away_from_the_checkout(on_server: Path, tmp_path: Path) -> None:
    looked = run(on_server, tmp_path, "python", "-c", _LOOK, str(site_packages(on_server)))
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.strip() == "looked"


def test_console_script_of_the_server_knows_our_commands(on_server: Path, tmp_path: Path) -> None:
    helped = run(on_server, tmp_path, "steward", "help")
    assert helped.returncode == 0, helped.stderr
    assert {"up", "web", "kernel", "node", "token"} <= set(helped.stdout.split())


def test_server_makes_tables_and_credentials(on_server: Path, tmp_path: Path) -> None:
    migrated = run(on_server, tmp_path, "steward", "migrate", "--verbosity", "0")
    assert migrated.returncode == 0, migrated.stderr
    added = run(on_server, tmp_path, "steward", "node", "add", "ship1", "--json")
    assert added.returncode == 0, added.stderr
    assert json.loads(added.stdout)["node"] == "ship1"
