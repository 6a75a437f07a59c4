"""With different secret keys, web roles refuse each other's sessions: the second does not start, doctor says why."""

import sqlite3
from pathlib import Path

from tests.support.product import Product
from tests.support.waiting import wait_for


def test_a_second_web_role_with_another_secret_key_does_not_start(tmp_path: Path) -> None:
    product = Product(tmp_path / "data", settings={"STEWARD_SECRET_KEY": "one" * 20}).start()
    try:
        with sqlite3.connect(product.directory / "steward.sqlite3") as database:
            wait_for(lambda: database.execute("SELECT count(*) FROM errorkernel_webheartbeat").fetchone()[0])
            stored = database.execute("SELECT * FROM errorkernel_webheartbeat").fetchall()
        assert "oneone" not in str(stored)
        assert "secret key: used by all web roles that serve now (1)" in product.command("doctor").stdout
        other = Product(product.directory, settings={"STEWARD_SECRET_KEY": "two" * 20})
        refused = other.command("web", "--port", "0")
        assert refused.returncode == 1
        assert "uses another secret key" in refused.stderr
        assert "Traceback" not in refused.stderr
        found = other.command("doctor")
        assert found.returncode == 1
        assert "failed   secret key: these web roles use another one" in found.stdout
    finally:
        product.stop()
    # Nobody serves any more: the key may be replaced.
    product.settings["STEWARD_SECRET_KEY"] = "two" * 20
    product.start()
    product.kill()
    product.settings["STEWARD_SECRET_KEY"] = "three" * 20
    product.start()
    product.stop()
