"""``steward doctor``: all well, or what is wrong and how to mend it, whether the product runs or not."""

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from errorkernel.broker import streams
from errorkernel.broker.access import own_access
from errorkernel.broker.connection import Connection
from errorkernel.domain.ids import uuid7
from errorkernel.ops.doctor import machine
from errorkernel.ops.doctor.report import Status
from errorkernel.platform import conf
from errorkernel.protocol import subjects
from tests.support.product import Product
from tests.support.waiting import PATIENCE_S, wait_for


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    running = Product(tmp_path_factory.mktemp("doctor") / "data").start()
    running.add_node("ship1")
    yield running
    running.stop()


def examine(product: Product) -> tuple[int, dict[str, dict[str, str]], dict[str, Any]]:
    """(exit status, checks by name, all that was told)."""
    done = product.command("doctor", "--json")
    told = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0), done.stderr
    return done.returncode, {one["name"]: one for one in told["checks"]}, told


def wrong(checks: dict[str, dict[str, str]]) -> dict[str, str]:
    """Name → remedy of what has failed; nothing is wrong without a remedy."""
    assert all(bool(one["remedy"]) == (one["status"] != "ok") for one in checks.values())
    return {name: one["remedy"] for name, one in checks.items() if one["status"] == "failed"}


async def with_link(product: Product, do: Any) -> None:
    access = own_access(replace(conf.get(), data_dir=product.directory))
    connection = Connection(access.url, name="test", seed=access.seed)
    connection.start()
    try:
        await connection.wait_until_ready(PATIENCE_S)
        await do(connection)
    finally:
        await connection.close()


def test_where_all_is_well_it_says_so_and_ends_with_0(product: Product) -> None:
    status, checks, told = examine(product)
    assert wrong(checks) == {}
    assert status == 0
    assert {"broker", "jetstream", "stream EK_EVENTS", "stream EK_DECISIONS", "node durables", "kernel"} <= {
        name for name, one in checks.items() if one["status"] == "ok"
    }
    assert {one["name"] for one in told["settings"]} == {name for name, _, _ in conf.describe(conf.get())}
    lines = product.command("doctor").stdout.splitlines()
    for name, one in checks.items():
        assert any(line.startswith(f"{one['status']:<8} {name}: ") for line in lines)


def test_secrets_are_not_shown(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEWARD_SECRET_KEY", "swordfish")
    monkeypatch.setenv("STEWARD_CHANNEL_LAYER", "redis://:swordfish@127.0.0.1:1/0")
    done = product.command("doctor")
    assert "swordfish" not in done.stdout + done.stderr
    assert "redis://(hidden)@127.0.0.1:1/0" in done.stdout
    assert done.returncode == 1  # and nobody is there


def test_a_stream_that_somebody_changed_is_named_and_mended_by_a_restart(product: Product) -> None:
    async def change(connection: Connection) -> None:
        config = streams.events_stream(conf.get().stream_max_bytes) | {"max_bytes": 4711000}
        await connection.api(f"STREAM.UPDATE.{subjects.EVENTS_STREAM}", config)
        name = subjects.durable_of("ship1")
        await connection.api(f"CONSUMER.DELETE.{subjects.DECISIONS_STREAM}.{name}", {})

    asyncio.run(with_link(product, change))
    status, checks, _ = examine(product)
    assert status == 1
    assert wrong(checks).keys() == {"stream EK_EVENTS", "node durables"}
    assert "max_bytes is 4711000 instead of" in checks["stream EK_EVENTS"]["finding"]
    assert "ship1" in checks["node durables"]["finding"]
    assert "steward up" in checks["node durables"]["remedy"]
    product.stop()
    product.start()
    wait_for(lambda: examine(product)[0] == 0)


def test_a_broker_that_stands_still_is_named(product: Product) -> None:
    def is_named() -> bool:
        pid = int((product.directory / "nats" / "nats.pid").read_text())
        os.kill(pid, 19)  # stopped: it accepts and says nothing, which is worse than being away
        try:
            status, checks, _ = examine(product)
        finally:
            with suppress(ProcessLookupError):  # the product replaces it if the examination takes long
                os.kill(pid, 18)
        return status == 1 and "server.log" in wrong(checks).get("broker", "")

    wait_for(is_named)


def test_a_broker_of_others_that_is_away_is_named(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEWARD_NATS_URL", "nats://127.0.0.1:1")
    _, checks, _ = examine(product)
    assert "STEWARD_NATS_URL" in wrong(checks)["broker"]


def test_what_others_can_read_is_named(product: Product) -> None:
    secret = product.directory / "secret_key"
    secret.chmod(0o644)
    try:
        assert f"chmod go= {secret}" in wrong(examine(product)[1])["secrets"]
    finally:
        secret.chmod(0o600)


def test_while_nothing_runs_it_says_what_it_could_not_check_and_counts_that_as_no_failure(tmp_path: Path) -> None:
    stopped = Product(tmp_path / "data").start()
    stopped.stop()
    status, checks, _ = examine(stopped)
    assert (status, wrong(checks)) == (0, {})
    for name in ("broker", "kernel"):
        assert checks[name]["finding"].startswith("not checked")
        assert "steward up" in checks[name]["remedy"]


def test_a_database_without_its_tables_is_named_and_nothing_is_made_by_looking(tmp_path: Path) -> None:
    product = Product(tmp_path / "data")
    product.directory.mkdir(mode=0o700)
    path = product.directory / "steward.sqlite3"
    assert "steward migrate" in wrong(examine(product)[1])["database"]
    assert not path.exists()
    path.touch(mode=0o600)
    checks = examine(product)[1]
    assert "steward migrate" in wrong(checks)["migrations"]
    assert checks["kernel"]["finding"].startswith("not checked")
    assert product.command("migrate").returncode == 0
    status, checks, _ = examine(product)
    assert (status, wrong(checks)) == (0, {})
    assert "createsuperuser" in checks["administrator"]["remedy"]


def test_a_command_where_steward_was_never_started_says_so_in_one_sentence(tmp_path: Path) -> None:
    product = Product(tmp_path / "data", new=True)
    for words in (["node", "add", "ship1"], ["node", "list"], ["token", "add", "admin"], ["broker-config"]):
        told = product.command(*words)
        assert told.returncode == 1, words
        assert told.stderr.startswith(f"steward: Steward has never been started on {product.directory}."), words
        assert len(told.stderr.splitlines()) == 1


def test_a_database_that_is_behind_its_counters_or_damaged_is_named(tmp_path: Path) -> None:
    product = Product(tmp_path / "data").start()
    event = {"v": 1, "id": str(uuid7()), "type": "error", "process": "p", "error": {"text": "no such file"}}
    assert product.call("/api/v1/events", product.add_node("ship1")["token"], event)[0] == 202
    token = product.token()
    wait_for(lambda: product.call("/api/v1/events", token)[1]["items"])
    product.stop()
    path = product.directory / "steward.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE errorkernel_counter SET value = 0 WHERE name = 'events'")
    assert "backup" in wrong(examine(product)[1])["counters"]
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 3))
    assert any("latest backup" in remedy for remedy in wrong(examine(product)[1]).values())


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_settings_and_a_data_directory_that_cannot_be_used_are_named(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "file").write_text("no directory")
    product = Product(tmp_path / "file" / "data")
    done = product.command("doctor", *options)
    assert done.returncode == 1
    assert "data directory" in done.stdout
    assert "writable" in done.stdout
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STEWARD_LOG_FORMAT", "xml")
        told = Product(tmp_path).command("doctor", *options)
    assert told.returncode == 1
    assert "STEWARD_LOG_FORMAT" in told.stdout


@pytest.mark.parametrize(
    ("fields", "name", "status", "word"),
    [
        ({"data_dir": Path("/proc")}, "data directory", Status.FAILED, "STEWARD_DATA_DIR"),
        ({"base_url": "errors.example.org"}, "addresses", Status.FAILED, "https://"),
        ({"base_url": "http://errors.example.org"}, "addresses", Status.WARNING, "TLS"),
        ({"base_url": "http://127.0.0.1:8000"}, "addresses", Status.OK, ""),
        ({"allowed_hosts": ("*",)}, "addresses", Status.WARNING, "STEWARD_ALLOWED_HOSTS"),
        ({"debug": True}, "addresses", Status.WARNING, "STEWARD_DEBUG"),
        ({"stream_max_bytes": 2**62}, "disk", Status.WARNING, "STEWARD_STREAM_MAX_BYTES"),
    ],
)
def test_what_the_machine_and_the_settings_lack_is_named(
    fields: dict[str, Any], name: str, status: Status, word: str
) -> None:
    found = {one.name: one for one in machine.checks(replace(conf.get(), **fields))}
    assert found[name].status is status
    assert word in found[name].remedy


@pytest.mark.parametrize(
    ("have", "wanted", "fits"),
    [("5.2.19", "<5.3,>=5.2", True), ("5.3", "<5.3,>=5.2", False), ("4.2.3", ">=4.2.3,<4.3", True),
     ("4.2.2", ">=4.2.3,<4.3", False), ("0.22.0", ">=0.19", True), ("1.0", "", True)],
)  # fmt: skip
def test_versions_are_compared_as_numbers(have: str, wanted: str, fits: bool) -> None:
    assert machine._fits(have, wanted) is fits


def test_no_command_prints_a_password_of_an_address(tmp_path: Path) -> None:
    login = "me:s3cr3t/p%40ss"
    settings = {
        "STEWARD_NATS_URL": f"nats://{login}@127.0.0.1:1,tls://{login}@127.0.0.1:2",
        "STEWARD_CHANNEL_LAYER": f"redis://{login}@127.0.0.1:3/0",
        "STEWARD_LEGACY": "jetstream",
        "STEWARD_LEGACY_NATS_URL": f"nats://{login}@127.0.0.1:4",
        "STEWARD_SECRET_KEY": "s3cr3t" * 10,
    }
    product = Product(tmp_path / "data", settings=settings)
    product.make_tables()
    for words in ("doctor", "doctor --json", "node add ship1", "broker-config"):
        done = product.command(*words.split())
        assert "s3cr3t" not in done.stdout + done.stderr, words
    for wrong in ({"STEWARD_CHANNEL_LAYER": f"redsi://{login}@h:1"}, {"STEWARD_BASE_URL": f"https://{login}@h"}):
        done = Product(product.directory, settings=wrong).command("doctor")
        assert done.returncode == 1
        assert "s3cr3t" not in done.stdout + done.stderr
