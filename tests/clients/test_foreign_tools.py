"""Other people's validators and generators accept the OpenAPI document.

They are fetched, so only ``make test-all`` runs them (``FOREIGN_TOOLS=1``); those of npm where npm is installed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import steward_site.urls  # noqa: F401 - with the operations of other packages
from errorkernel.domain.limits import Limits
from errorkernel.web.api.openapi.document import document

pytestmark = pytest.mark.skipif("FOREIGN_TOOLS" not in os.environ, reason="FOREIGN_TOOLS=1 fetches and runs them")
NPM = {
    "spectral": ["@stoplight/spectral-cli@6.16.3", "spectral", "lint", "api.json", "-r", "rules.yaml"],
    "redocly": ["@redocly/cli@2.77.0", "redocly", "lint", "api.json"],
    "openapi-typescript": ["openapi-typescript@7.13.0", "openapi-typescript", "api.json", "-o", "api.ts"],
}
PYPI = {
    "openapi-python-client==0.29.1": ["openapi_python_client", "generate", "--path", "api.json", "--meta", "none"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    described = document("http://127.0.0.1:8000", "1", Limits(), example="0193b0de-5c6f-7a3b-8f10-2a4c6e8f0123")
    (tmp_path / "api.json").write_text(json.dumps(described))
    (tmp_path / "rules.yaml").write_text('extends: ["spectral:oas"]\n')
    return tmp_path


def run(command: list[str], folder: Path, **more: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)
@pytest.mark.skipif(not shutil.which("npx"), reason="npm is not installed")
@pytest.mark.parametrize("tool", NPM)
def test_a_tool_of_npm_accepts_the_document(tool: str, folder: Path) -> None:
    package, *command = NPM[tool]
    run(["npx", "--yes", "--package", package, "--", *command], folder)
    if tool == "openapi-typescript":
        made = (folder / "api.ts").read_text()
        # A default makes no field required.
        assert "enabled?: boolean;" in made.split(" RuleRequest: {")[1].split("\n        };")[0]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("package", PYPI)
def test_a_tool_of_pypi_accepts_the_document(package: str, folder: Path) -> None:
    run([sys.executable, "-m", "venv", "tools"], folder)
    run(["tools/bin/python", "-m", "pip", "install", "--quiet", package], folder)
    tools = str(folder / "tools" / "bin")
    run(["tools/bin/python", "-m", *PYPI[package]], folder, PATH=f"{tools}:{os.environ['PATH']}")
