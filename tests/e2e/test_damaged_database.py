"""A corrupt page, or a file that is no database: one sentence of every command, with what to do, and no traceback."""

from pathlib import Path

import pytest

from tests.support.product import Product

PAGE = 4096


@pytest.fixture(params=["pages", "header"])
def damaged(tmp_path: Path, request: pytest.FixtureRequest) -> Product:
    product = Product(tmp_path / "data")
    product.make_tables()
    path = product.directory / "steward.sqlite3"
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(2 * PAGE if request.param == "pages" else 0)
        file.write(b"\xff" * (size - 2 * PAGE))
    return product


@pytest.mark.parametrize(
    "words",
    ["up --port 0", "web --port 0", "kernel", "node list", "token add admin", "migrate", "changepassword admin"],
)
def test_every_command_says_so_in_one_sentence(damaged: Product, words: str) -> None:
    done = damaged.command(*words.split())
    assert done.returncode == 1
    assert done.stderr.startswith("steward: The database ")
    assert "is damaged" in done.stderr
    assert "`steward doctor`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_doctor_says_what_is_wrong(damaged: Product) -> None:
    done = damaged.command("doctor")
    assert done.returncode == 1
    assert "failed   database" in done.stdout
    assert "Traceback" not in done.stderr
