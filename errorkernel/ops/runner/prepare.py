"""Prepares a role's start: data directory, database, port and broker."""

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import shutil
import socket
import sqlite3
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.urls import URLResolver, get_resolver
from django.utils import timezone

from errorkernel.broker import embedded
from errorkernel.broker.access import kernel_seed
from errorkernel.broker.credentials import public_nkey
from errorkernel.broker.embedded import EmbeddedServer
from errorkernel.broker.errors import BrokerStartError
from errorkernel.platform.conf import Conf, ConfError
from errorkernel.senders.broker import shared_accounts
from errorkernel.store import web_heartbeats
from errorkernel.store.accounts import people
from errorkernel.store.platform import schema
from errorkernel.web.assets.build import build

log = logging.getLogger("errorkernel.runner")

OLD_ASSETS_KEPT = 3


class StartError(Exception):
    """The product cannot start; the message is one sentence for the person who started it."""


def protect_data_dir(conf: Conf) -> None:
    """Make the data directory and its files readable for this user alone, also those that were there before: the
    database holds session keys. What belongs to another user stays as it is, and ``steward doctor`` reports it."""
    os.umask(0o077)
    found = [conf.data_dir, *(conf.data_dir.iterdir() if conf.data_dir.is_dir() else ()), *conf.sqlite_files()]
    for path in found:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & 0o077 and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.chmod(mode & 0o700)


def hold_data_dir(conf: Conf) -> Any:
    """Lock the data directory until the returned handle is closed. Raises StartError."""
    try:
        conf.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        protect_data_dir(conf)
        lock = conf.data_file("lock").open("a+")
    except OSError as exc:
        raise StartError(f"The data directory {conf.data_dir} cannot be used: {exc.strerror}.") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise StartError(
            f"Another `steward up` already runs on {conf.data_dir}. Stop it, or name another directory with --data-dir."
        ) from None
    return lock


def prepare_database() -> str:
    """Bring the tables up to date; returns the database's name. Raises StartError where it cannot be used."""
    name = str(connection.settings_dict["NAME"])
    try:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM sqlite_master")
        check_database()
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseError, sqlite3.DatabaseError) as exc:
        raise StartError(schema.unusable(exc)) from exc
    return name


def check_database() -> None:
    """Raises StartError for a database of another version. One that cannot be reached now is not checked: the roles
    outlast that."""
    try:
        why = schema.incompatibility()
    except DatabaseError as exc:
        if not schema.is_damage(exc):
            return
        why = schema.unusable(exc)
    finally:
        connection.close()
    if why:
        raise StartError(why)


@dataclass(frozen=True, slots=True)
class FirstAccount:
    """The account ``admin`` before it is stored. ``new_password``: the generated one, None where a file gave it."""

    new_password: str | None
    hashed: Future[str]


def begin_first_account(password_file: str) -> FirstAccount | None:
    """Hash the first account's password in a thread, which takes 0.5 s of processor time and leaves Python free.

    The password is the one in the file, else a new one. None where there is an account already. Raises StartError.
    """
    try:
        if get_user_model().objects.exists():
            return None
    except (DatabaseError, sqlite3.DatabaseError):
        pass  # no tables yet; prepare_database reports other errors
    given = _given_password(password_file) if password_file else ""
    password = given or secrets.token_urlsafe(12)
    thread = ThreadPoolExecutor(1)
    hashed = thread.submit(make_password, password)
    thread.shutdown(wait=False)
    return FirstAccount(None if given else password, hashed)


def store_first_account(account: FirstAccount | None) -> str | None:
    """Store the account, unless there is one by now.

    Returns the new password, which is stored nowhere, or None if there is no new one.
    """
    users = get_user_model().objects
    if account is None or users.exists():
        return None
    people.add_administrator("admin", account.hashed.result(), origin="the first start")
    return account.new_password


def _given_password(file: str) -> str:
    try:
        password = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        why = getattr(exc, "strerror", None) or "it is not text"
        raise StartError(f"STEWARD_ADMIN_PASSWORD_FILE={file} cannot be read: {why}.") from exc
    if not password:
        raise StartError(f"STEWARD_ADMIN_PASSWORD_FILE={file} is empty. Write a password into it.")
    return password


def prepare_assets() -> None:
    """Make the static files with hashed names for this state of the checkout, unless they are there; a wheel brings
    them. Without them pages work, and a slow link takes longer."""
    target = settings.STATIC_ROOT
    if target is None or target.is_dir():
        return
    try:
        build(settings.ASSETS / "static", target)
        _remove_old_assets(target)
    except OSError as exc:
        log.warning("Static files with hashed names cannot be made in %s: %s", target.parent, exc.strerror or exc)


def _remove_old_assets(current: Path) -> None:
    """All but the newest states: another web process may still serve those."""
    others = [path for path in current.parent.iterdir() if path != current]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[:-OLD_ASSETS_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


def check_secret_key() -> None:
    """Raises StartError where another web role serves with another secret key: sessions of one would be refused by the
    other. A database that cannot be reached now is not checked; ``steward doctor`` does it later."""
    try:
        others = [worker for worker in web_heartbeats.with_other_key(now=timezone.now()) if not _has_died_here(worker)]
    except DatabaseError:
        return
    finally:
        connection.close()
    if others:
        raise StartError(
            f"The web role {others[0]} uses another secret key, and would refuse sessions of this one. Set the same"
            " STEWARD_SECRET_KEY for both, or stop the other one first."
        )


def _has_died_here(worker: str) -> bool:
    """Whether this was a process of this machine that has ended without a word."""
    host, _, pid = worker.rpartition(":")
    return host == socket.gethostname() and not Path(f"/proc/{pid}").exists()


def check_base_path(conf: Conf) -> None:
    """Raises StartError where the prefix of the base URL begins like an address of ours: a proxy may strip the prefix,
    and both cases would look the same."""
    if not conf.base_path:
        return
    first = conf.base_path.split("/")[1]
    patterns = list(get_resolver().url_patterns)
    ours = {"static", "ws"}
    while patterns:
        pattern = patterns.pop()
        begin = str(pattern.pattern).split("/")[0]
        ours.add(begin)
        if not begin and isinstance(pattern, URLResolver):
            patterns += pattern.url_patterns
    if first in ours:
        raise StartError(
            f"STEWARD_BASE_URL={conf.base_url}: /{first} is an address of Steward's own. Choose another prefix."
        )


def hold_port(host: str, port: int) -> socket.socket:
    """A bound port, which nobody else can take until the web server listens; 0 picks a free one. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except (OSError, OverflowError) as exc:
        held.close()
        if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
            raise StartError(f"Port {port} is already in use. Choose another with --port.") from exc
        why = getattr(exc, "strerror", None) or exc
        raise StartError(f"{host}:{port} cannot be used ({why}). Choose another with --host or --port.") from exc
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
            shared_accounts=shared_accounts(conf),
        )
    except (BrokerStartError, ConfError, ValueError) as exc:
        raise StartError(str(exc)) from exc
