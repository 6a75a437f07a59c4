"""The packages of ``docs/architecture.md``: every import of the product is checked against the table there."""

import ast
import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "errorkernel"
LIBRARIES = {
    "django", "channels", "daphne", "twisted", "zope", "asgiref", "nats", "nkeys", "prometheus_client", "msgspec",
    "csp", "whitenoise", "channels_redis", "psycopg", "steward_site", "cbor2", "zstandard", "nacl",
}  # fmt: skip
ORM_WRITES = {
    "save", "create", "bulk_create", "bulk_update", "get_or_create", "update_or_create", "acreate", "asave",
    "aupdate", "adelete",
}  # fmt: skip
QUERYSETS = {"objects", "filter", "exclude", "all", "select_for_update", "order_by"}


DEEP = {"store": 2, "node": 2, "web": 2, "ops": 2, "senders": 3}
"""Packages whose inner packages have rows of their own, and to which depth."""


def table() -> dict[str, tuple[set[str], set[str]]]:
    """Package → (packages, libraries) that it may import."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = text.split("\n## Packages\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", packages, re.MULTILINE)
    return {row: (set(re.findall(r"`([\w.]+)`", may)), set(re.findall(r"`(\w+)`", lib))) for row, may, lib in rows}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if not _is_marker(path))


def _is_marker(path: Path) -> bool:
    return path.name == "__init__.py" and not path.read_text().strip()


def package_of(path: Path) -> str:
    """The row of the table that a module, or what is imported from it, belongs to."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    inner = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(inner[: DEEP.get(parts[0], 1)])


@cache
def imported(name: str) -> str:
    """The row of the table that ``errorkernel.a.b.c`` belongs to: ``c`` may be a module or a name in one."""
    parts = name.split(".")[1:]
    for count in range(len(parts), 0, -1):
        path = PACKAGE.joinpath(*parts[:count])
        if path.with_suffix(".py").is_file():
            return package_of(path.with_suffix(".py"))
        if path.is_dir():
            return package_of(path / "__init__.py")
    raise AssertionError(f"{name} is not there")


@cache
def tree(path: Path) -> ast.Module:
    """The file's syntax tree. Python 3.11 fails when a destructor of what other tests left runs while it is made."""
    gc.disable()
    try:
        return ast.parse(path.read_text())
    finally:
        gc.enable()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, also those inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))


def test_every_module_belongs_to_a_row_of_the_table() -> None:
    rows = table()
    assert len(rows) > 15
    assert {package_of(path) for path in modules()} == set(rows)
    assert set().union(*(may for may, _ in rows.values())) <= set(rows)


def test_packages_do_not_import_each_other_in_a_circle() -> None:
    left = {package: set(may) for package, (may, _) in table().items()}
    while left:
        free = [package for package, may in left.items() if not may]
        assert free, f"packages that import each other in a circle: {sorted(left)}"
        left = {package: may - set(free) for package, may in left.items() if package not in free}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_its_package_may(path: Path) -> None:
    package = package_of(path)
    may, libraries = table()[package]
    wrong = []
    for line, name in imports(path):
        if name.startswith("errorkernel."):
            if imported(name) not in may | {package}:
                wrong.append(f"line {line}: {name} ({imported(name)})")
        elif name.split(".")[0] in LIBRARIES - libraries:
            wrong.append(f"line {line}: {name}")
    assert not wrong, f"{package} may not import this; see the table in docs/architecture.md"


@pytest.mark.parametrize(
    ("library", "packages"),
    [
        ("nats", {"broker"}),
        ("nkeys", {"broker"}),
        ("prometheus_client", {"platform"}),
        ("cbor2", {"senders.steward.protocol"}),
        ("zstandard", {"senders.steward.protocol"}),
        ("nacl", {"senders.steward.protocol"}),
    ],
)
def test_library_is_imported_by_one_package(library: str, packages: set[str]) -> None:
    users = {package_of(path) for path in modules() if any(name.split(".")[0] == library for _, name in imports(path))}
    assert users == packages
    assert {package for package, (_, libraries) in table().items() if library in libraries} == packages


def test_only_live_sends_to_groups() -> None:
    users = [path for path in modules() if re.search(r"(?<!def )\bgroup_send\b", path.read_text())]
    assert users == [PACKAGE / "live" / "publisher.py"]


def test_only_the_store_writes_to_the_database() -> None:
    """Calls that can only be ORM writes, and ``update``/``delete`` on what is plainly a queryset."""
    writers = []
    for path in modules():
        if package_of(path).split(".")[0] in ("store", "migrations") or package_of(path) == "senders.steward.store":
            continue
        for call in calls(path):
            if not isinstance(call.func, ast.Attribute):
                continue
            of_queryset = any(
                isinstance(part, ast.Attribute) and part.attr in QUERYSETS for part in ast.walk(call.func.value)
            )
            if call.func.attr in ORM_WRITES or (call.func.attr in ("update", "delete") and of_queryset):
                writers.append(f"{path.relative_to(PACKAGE)}: {ast.unparse(call)}")
    # Django's admin saves the one field of a node that people edit, and its own user model.
    assert [one for one in writers if not one.startswith("admin/credentials.py: obj.save(update_fields=['note']")] == []


def test_package_markers_are_empty() -> None:
    full = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()]
    # What people outside write, and what Django imports by itself.
    assert set(full) <= {Path("node/__init__.py"), Path("admin/__init__.py"), Path("models/__init__.py")}


@pytest.mark.parametrize("package", ["domain", "protocol", "broker", "node", "ops/demo", "senders/steward/protocol"])
def test_package_works_where_django_is_not_installed(package: str) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if path.is_relative_to(PACKAGE / package) and path.stem != "__main__"
    ]
    assert names
    blocked = "import sys\nfor name in ('django', 'channels', 'daphne', 'asgiref'):\n    sys.modules[name] = None\n"
    program = blocked + "\n".join(f"import {name}" for name in names)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_imports_twisted_before_daphnes_server_chooses_the_reactor() -> None:
    everything = "import steward_site.asgi, steward_site.urls, errorkernel.ops.runner.roles, sys\n"
    program = everything + "assert 'twisted' not in sys.modules\nimport daphne.server\nassert 'twisted' in sys.modules"
    environ = os.environ | {"DJANGO_SETTINGS_MODULE": "steward_site.settings"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
