"""The scripts of the pages: every import names a module that exists, and no module imports itself through others."""

import re
from pathlib import Path

from tests.support.paths import ROOT

SCRIPTS = ROOT / "static" / "errorkernel"
ENTRIES = {"console.js", "dry_run.js", "progress.js", "theme.js"}
"""What templates load; every other script is imported."""
IMPORT = re.compile(r'^(?:import|export)\b[^;]*?from "\./([\w.]+)";|^import "\./([\w.]+)";', re.MULTILINE)


def imports_of(script: Path) -> set[str]:
    return {first or second for first, second in IMPORT.findall(script.read_text())}


def imports() -> dict[str, set[str]]:
    return {script.name: imports_of(script) for script in SCRIPTS.glob("*.js")}


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where none do."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        cycle = next((found for other in sorted(graph[name]) if (found := visit(other, [*path, name]))), [])
        done.add(name)
        return cycle

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_scripts_import_modules_that_exist() -> None:
    graph = imports()
    assert set().union(*graph.values()) <= set(graph)


def test_no_script_imports_itself_through_others() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert find_cycle(imports()) == []


def test_every_script_is_imported_or_loaded_by_a_template() -> None:
    graph = imports()
    assert set(graph) - set().union(*graph.values()) == ENTRIES
    pages = "".join(page.read_text() for page in (ROOT / "templates").rglob("*.html"))
    assert all(f"errorkernel/{name}" in pages for name in ENTRIES)
