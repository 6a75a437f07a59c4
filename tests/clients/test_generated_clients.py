"""Clients in Python, TypeScript and Go, generated from the OpenAPI document of a running product, do a day of work.

They log in by token, list pending incidents, decide one and lose a race, mute a problem, make a rule that must be
confirmed and disable it, and page through events. Generators are fetched, so only ``make test-all`` runs them
(``FOREIGN_TOOLS=1``). Where npm, Java or Go is missing, that client is skipped by name.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import event, post
from tests.support.product import Product
from tests.support.waiting import wait_for

pytestmark = [
    pytest.mark.skipif("FOREIGN_TOOLS" not in os.environ, reason="FOREIGN_TOOLS=1 fetches and runs them"),
    pytest.mark.timeout(900),
]
HERE = Path(__file__).parent
EVENTS = 25
PYTHON_GENERATOR = "openapi-python-client==0.29.1"
JAVA_GENERATOR = "openapi-generator-cli==7.17.0"
NPM = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "@types/node@20.19.0")
TSCONFIG = {
    "compilerOptions": {
        "strict": True, "target": "es2022", "module": "nodenext", "moduleResolution": "nodenext",
        "skipLibCheck": True, "types": ["node"],
    },
    "files": ["day.ts"],
}  # fmt: skip


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    started = Product(tmp_path_factory.mktemp("clients") / "data").start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def document(product: Product) -> str:
    return json.dumps(product.call("/api/v1/openapi.json", product.token())[1])


@pytest.fixture
def work(product: Product, document: str, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, int]:
    """A folder with the document, and how many events there are: some new ones, two of blocked processes."""
    node = product.add_node(f"client-{request.node.name.rpartition('_')[2]}")
    token = product.token()
    text = {"text": f"blocked for {request.node.name}"}
    asked = [event(type="action", process=process, error=text) for process in ("copy-files", "http-get")]
    post(product, node, *[event(error={"text": f"{number}"}) for number in range(EVENTS)], *asked)
    wait_for(lambda: {product.call(f"/api/v1/incidents/{one['id']}", token)[0] for one in asked} == {200})
    (tmp_path / "api.json").write_text(document)
    return tmp_path, int(product.call("/api/v1/events?order=desc&limit=1", token)[1]["items"][0]["seq"])


def run(folder: Path, *command: str, **more: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tools(folder: Path, *packages: str) -> Path:
    """The programs of these packages of PyPI."""
    run(folder, sys.executable, "-m", "venv", "tools")
    run(folder, "tools/bin/python", "-m", "pip", "install", "--quiet", *packages)
    return folder / "tools" / "bin"


def check_day(product: Product, folder: Path, events: int, *command: str) -> None:
    """Run the client's program and compare what it saw with the product."""
    token = product.token()
    told: dict[str, Any] = json.loads(run(folder, *command, ADDRESS=product.http_url, TOKEN=token))
    assert told["pending"] >= 2
    assert (told["decided"], told["winner"], told["problem"]) == ("kill", "user:admin", "muted")
    assert told["matched"] >= 2
    assert told["enabled"] == [True, False]
    assert told["events"] == list(range(1, events + 1))
    assert len(product.call("/api/v1/incidents?state=open", token)[1]["items"]) == told["pending"] - 1
    assert not [rule for rule in product.call("/api/v1/rules", token)[1]["items"] if rule["enabled"]]


def test_a_client_in_python(product: Product, work: tuple[Path, int]) -> None:
    folder, events = work
    programs = tools(folder, PYTHON_GENERATOR)
    generate = ("tools/bin/openapi-python-client", "generate", "--path", "api.json", "--meta", "none")
    run(folder, *generate, "--output-path", "pyclient", PATH=f"{programs}:{os.environ['PATH']}")
    shutil.copy(HERE / "day.py", folder)
    check_day(product, folder, events, "tools/bin/python", "day.py")


@pytest.mark.skipif(not shutil.which("npx"), reason="npm is not installed: no client in TypeScript")
def test_a_client_in_typescript(product: Product, work: tuple[Path, int]) -> None:
    folder, events = work
    (folder / "package.json").write_text(json.dumps({"type": "module", "private": True}))
    (folder / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    shutil.copy(HERE / "day.ts", folder)
    run(folder, "npm", "install", "--silent", "--no-audit", "--no-fund", *NPM)
    run(folder, "npx", "--no-install", "openapi-typescript", "api.json", "-o", "api.d.ts")
    run(folder, "npx", "--no-install", "tsc")
    check_day(product, folder, events, "node", "day.js")


@pytest.mark.skipif(not shutil.which("go"), reason="Go is not installed: no client in Go")
@pytest.mark.skipif(not shutil.which("java"), reason="Java is not installed: no generator for Go")
def test_a_client_in_go(product: Product, work: tuple[Path, int]) -> None:
    """It uses the standard library only: the modules that its generated tests would need are not fetched."""
    folder, events = work
    tools(folder, JAVA_GENERATOR)
    generate = ("tools/bin/openapi-generator-cli", "generate", "-i", "api.json", "-g", "go", "-o", "steward")
    names = "packageName=steward,withGoMod=false,enumClassPrefix=true"
    run(folder, *generate, f"--additional-properties={names}")
    shutil.rmtree(folder / "steward" / "test", ignore_errors=True)
    (folder / "steward" / "go.mod").write_text("module steward\n\ngo 1.19\n")
    (folder / "go.mod").write_text("module day\n\ngo 1.19\n\nrequire steward v0.0.0\n\nreplace steward => ./steward\n")
    shutil.copy(HERE / "day.go", folder)
    offline = {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOCACHE": str(folder / "cache")}
    run(folder, "go", "build", "-o", "day", "day.go", **offline)
    check_day(product, folder, events, "./day")
