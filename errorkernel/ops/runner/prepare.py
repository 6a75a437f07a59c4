"""What a role needs before it starts: the data directory, the database, a port, a broker; each taken or made ready."""

import fcntl
import secrets
import socket
import sqlite3
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from errorkernel.broker import embedded
from errorkernel.broker.access import kernel_seed, legacy_account
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.embedded import EmbeddedServer
from errorkernel.broker.errors import BrokerStartError
from errorkernel.platform.conf import Conf, ConfError
from errorkernel.store.accounts import people
from errorkernel.store.platform.actor import Actor


class StartError(Exception):
    """The product cannot start; the message is one sentence for whoever started it."""


def hold_data_dir(conf: Conf) -> Any:
    """Take the data dir for this process; the handle that is returned keeps it. Raises StartError."""
    try:
        conf.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = conf.data_file("lock").open("a+")
    except OSError as exc:
        raise StartError(f"The data directory {conf.data_dir} cannot be used: {exc.strerror}.") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StartError(f"Another `steward up` already runs on {conf.data_dir}.") from None
    return lock


def prepare_database() -> None:
    """Bring the tables up to date. Raises StartError for a database that cannot be used."""
    try:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM sqlite_master")
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseError, sqlite3.DatabaseError) as exc:
        name = connection.settings_dict["NAME"]
        raise StartError(f"The database {name} cannot be used: {str(exc).splitlines()[0]}.") from exc


def first_administrator() -> str | None:
    """Make the ``admin`` account where there is no account at all; returns its password, which is not kept."""
    users = get_user_model().objects
    if users.exists():
        return None
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        made = users.create_superuser("admin", password=password)
        now = datetime.now(UTC)
        people.note("user", {}, people.person(made.pk), actor=Actor.system(now, origin="the first start"))
    return password


def hold_port(host: str, port: int) -> socket.socket:
    """A port that can be listened on, taken until the web server does; 0 picks a free one. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except (OSError, OverflowError) as exc:
        held.close()
        why = getattr(exc, "strerror", None) or exc
        raise StartError(f"{host}:{port} cannot be listened on ({why}); choose another with --port.") from exc
    return held


def make_broker(conf: Conf) -> EmbeddedServer:
    """The embedded broker of the data dir, not yet started. Raises StartError."""
    try:
        return EmbeddedServer(
            conf.data_dir,
            kernel_key=public_nkey(kernel_seed(conf)),
            host=conf.nats_host,
            port=conf.nats_port,
            binary=embedded.find_binary(conf.nats_server),
            max_store_bytes=conf.stream_max_bytes * 2 + conf.legacy_stream_bytes,
            legacy=legacy_account(conf),
        )
    except (BrokerStartError, ConfError, ValueError) as exc:
        raise StartError(str(exc)) from exc
