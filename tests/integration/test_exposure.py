"""What other users of the machine, and caches on the way, can read of an installation."""

import os
import stat
from pathlib import Path

import pytest
from django.test import Client

from errorkernel.ops.doctor import machine
from errorkernel.ops.doctor.report import Status
from errorkernel.ops.runner.prepare import hold_data_dir
from errorkernel.platform import conf
from errorkernel.platform.conf import ConfError
from steward_site import settings


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_data_directory_that_existed_is_closed_at_the_start(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o755)
    (directory / "steward.sqlite3").write_text("keys")
    (directory / "nats").mkdir(mode=0o755)
    hold_data_dir(conf.load({"STEWARD_DATA_DIR": str(directory)})).close()
    (directory / "steward.sqlite3-wal").write_text("keys")
    assert mode(directory) == mode(directory / "nats") == 0o700
    assert mode(directory / "steward.sqlite3") == mode(directory / "steward.sqlite3-wal") == 0o600


def test_a_database_outside_of_the_data_directory_is_closed_at_the_start(tmp_path: Path) -> None:
    elsewhere = tmp_path / "my data.sqlite3"
    for end in ("", "-wal", "-shm"):
        Path(f"{elsewhere}{end}").write_text("keys")
    url = f"sqlite:////{str(elsewhere)[1:].replace(' ', '%20')}"
    given = conf.load({"STEWARD_DATA_DIR": str(tmp_path / "data"), "STEWARD_DATABASE_URL": url})
    assert machine._secrets(given).status is Status.FAILED
    hold_data_dir(given).close()
    assert {mode(Path(f"{elsewhere}{end}")) for end in ("", "-wal", "-shm")} == {0o600}
    assert machine._secrets(given).status is Status.OK


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://me:s3cret@host:4222", "nats://(hidden)@host:4222"),
        ("nats://me:s3/cr@et@host:4222", "nats://(hidden)@host:4222"),
        ("nats://a:s3cret@one:1,tls://b:s3cret@two:2", "nats://(hidden)@one:1,tls://(hidden)@two:2"),
        ("me:s3cret@host:4222", "(hidden)@host:4222"),
        ("nats://host:4222", "nats://host:4222"),
    ],
)
def test_no_password_in_an_address_is_shown(url: str, shown: str, tmp_path: Path) -> None:
    found = conf.load({"STEWARD_DATA_DIR": str(tmp_path), "STEWARD_NATS_URL": url})
    assert {name: value for name, value, _ in conf.describe(found)}["STEWARD_NATS_URL"] == shown


def test_parameters_of_a_database_url_reach_libpq() -> None:
    found = settings._database("postgresql://u:p@h/d?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem")
    assert found["OPTIONS"]["sslmode"] == "verify-full"
    assert found["OPTIONS"]["sslrootcert"] == "/etc/ca.pem"


def test_a_parameter_that_libpq_does_not_know_is_refused() -> None:
    with pytest.raises(ConfError, match=r"unknown parameter sslmod\. Did you mean sslmode\?"):
        settings._database("postgresql://u:p@h/d?sslmod=verify-full")


@pytest.mark.django_db
def test_pages_are_kept_by_no_cache(client: Client, admin_client: Client) -> None:
    for address in ("/", "/incidents/", "/problems/", "/nodes/", "/settings/", "/admin/"):
        assert "no-store" in admin_client.get(address).headers["Cache-Control"], address
    assert "no-store" in client.get("/login/").headers["Cache-Control"]
