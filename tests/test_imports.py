"""The houses of ``docs/architecture.md``: every import of the product is checked against the table there."""

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

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "errorkernel"
LIBRARIES = {
    "django", "channels", "daphne", "twisted", "zope", "asgiref", "nats", "nkeys", "prometheus_client", "msgspec",
    "csp", "whitenoise", "django_htmx", "channels_redis", "psycopg", "steward_site", "cbor2", "zstandard", "nacl",
}  # fmt: skip
ORM_WRITES = {
    "save", "create", "bulk_create", "bulk_update", "get_or_create", "update_or_create", "acreate", "asave",
    "aupdate", "adelete",
}  # fmt: skip
QUERYSETS = {"objects", "filter", "exclude", "all", "select_for_update", "order_by"}


def table() -> dict[str, tuple[set[str], set[str]]]:
    """Room → (rooms, libraries) that it may import."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    houses = text.split("\n## Houses\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|([^|]*)\|$", houses, re.MULTILINE)
    return {room: (set(re.findall(r"`(\w+)`", may)), set(re.findall(r"`(\w+)`", lib))) for room, may, lib in rows}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


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


def test_every_module_lives_in_a_room_of_the_table() -> None:
    rooms = table()
    assert len(rooms) > 15
    assert {room_of(path) for path in modules()} <= set(rooms)
    assert set().union(*(may for may, _ in rooms.values())) <= set(rooms)


def test_the_arrows_of_the_table_make_no_circle() -> None:
    left = {room: set(may) for room, (may, _) in table().items()}
    while left:
        free = [room for room, may in left.items() if not may]
        assert free, f"rooms that import each other in a circle: {sorted(left)}"
        left = {room: may - set(free) for room, may in left.items() if room not in free}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    may, libraries = table()[room]
    wrong = []
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "errorkernel":
            if parts[1] not in may | {room}:
                wrong.append(f"line {line}: {name}")
        elif parts[0] in LIBRARIES and parts[0] not in libraries:
            wrong.append(f"line {line}: {name}")
    assert not wrong, f"{room} may not import this; see the table in docs/architecture.md"


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("nats", {"broker"}),
        ("nkeys", {"broker"}),
        ("prometheus_client", {"metrics"}),
        ("cbor2", {"wire"}),
        ("zstandard", {"wire"}),
        ("nacl", {"wire"}),
    ],
)
def test_library_has_one_door(library: str, rooms: set[str]) -> None:
    users = {room_of(path) for path in modules() if any(name.split(".")[0] == library for _, name in imports(path))}
    assert users == rooms
    assert {room for room, (_, libraries) in table().items() if library in libraries} == rooms


def test_only_live_sends_to_groups() -> None:
    users = [path for path in modules() if re.search(r"(?<!def )\bgroup_send\b", path.read_text())]
    assert users == [PACKAGE / "live.py"]


def test_only_the_store_writes_to_the_database() -> None:
    """Calls that can only be ORM writes, and ``update``/``delete`` on what is plainly a queryset."""
    writers = []
    for path in modules():
        if room_of(path) in ("store", "migrations"):
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


@pytest.mark.parametrize("package", ["core", "wire", "broker", "node", "demo"])
def test_package_works_where_django_is_not_installed(package: str) -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if room_of(path) == package and path.stem != "__main__"
    ]
    assert names
    blocked = "import sys\nfor name in ('django', 'channels', 'daphne', 'asgiref'):\n    sys.modules[name] = None\n"
    program = blocked + "\n".join(f"import {name}" for name in names)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DJANGO")}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_nothing_imports_twisted_before_daphnes_server_chooses_the_reactor() -> None:
    everything = "import steward_site.asgi, steward_site.urls, errorkernel.runner.roles, sys\n"
    program = everything + "assert 'twisted' not in sys.modules\nimport daphne.server\nassert 'twisted' in sys.modules"
    environ = os.environ | {"DJANGO_SETTINGS_MODULE": "steward_site.settings"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
