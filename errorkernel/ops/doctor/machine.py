"""Checks that need neither database nor broker: versions, settings, the data directory, secrets, static files."""

import fcntl
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from django.contrib.staticfiles import finders

from errorkernel.ops.doctor.report import Check, bytes_of, failed, ok, warning
from errorkernel.platform.conf import Conf
from errorkernel.senders.files import secret_files

DISTRIBUTION = "steward-error-kernel"
PYTHON_MIN = (3, 11)
DISK_LEAST_BYTES = 256 * 1024 * 1024
STATIC_FILES = ("errorkernel/base.css", "errorkernel/console.js", "admin/css/base.css")
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?([^;]*)(;.*)?")


def is_running(conf: Conf) -> bool:
    """Whether ``steward up`` holds the data directory."""
    try:
        with conf.data_file("lock").open() as lock:
            # Shared and given back at once: nobody else is kept out by being asked.
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def checks(conf: Conf) -> Iterator[Check]:
    yield _python()
    yield _packages()
    yield _data_dir(conf)
    yield _disk(conf)
    yield _secrets(conf)
    yield _hosts(conf)
    yield _static_files()


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < PYTHON_MIN:
        return failed(
            "python",
            f"Python {found} is too old",
            "Install Python 3.11 or newer and create the virtual environment again.",
        )
    return ok("python", f"Python {found}")


def _packages() -> Check:
    wrong, found = [], []
    for name, wanted in _requirements():
        try:
            have = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        found.append(f"{name} {have}")
        if not _fits(have, wanted):
            wrong.append(f"{name} {have} is not {wanted}")
    if wrong:
        return failed("packages", "; ".join(wrong), f"Run pip install {DISTRIBUTION}[server] again.")
    return ok("packages", ", ".join(found))


def _requirements() -> Iterator[tuple[str, str]]:
    """(name, range) of what we cannot be without."""
    try:
        lines = requires(DISTRIBUTION) or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        found = _REQUIREMENT.match(line)
        if found and (not found[3] or 'extra == "server"' in found[3].replace("'", '"')):
            yield found[1], found[2].strip()


def _fits(have: str, wanted: str) -> bool:
    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    bounds = [re.match(r"\s*(>=|<)\s*([\d.]+)", part) for part in wanted.split(",") if part.strip()]
    return all(
        bound is None or (numbers(have) >= numbers(bound[2])) == (bound[1] == ">=")
        for bound in bounds
    )  # fmt: skip


def _data_dir(conf: Conf) -> Check:
    try:
        with tempfile.TemporaryFile(dir=conf.data_dir) as probe:
            probe.write(b"x")
    except OSError as exc:
        return failed(
            "data directory",
            f"{conf.data_dir} is not writable: {exc.strerror}",
            f"Make {conf.data_dir} writable for this user, or set STEWARD_DATA_DIR to a directory that is.",
        )
    return ok("data directory", f"{conf.data_dir} is writable")


def _disk(conf: Conf) -> Check:
    try:
        free = shutil.disk_usage(conf.data_dir).free
    except OSError as exc:
        return failed("disk", f"{conf.data_dir} cannot be read: {exc.strerror}", "Repair the data directory first.")
    if free < DISK_LEAST_BYTES:
        return failed("disk", f"only {bytes_of(free)} are free at {conf.data_dir}", "Free space on this disk now.")
    if conf.embedded_broker:
        wanted = conf.stream_max_bytes + (conf.legacy_stream_bytes if conf.legacy_on_ours else 0)
        needed = wanted - _size(conf.data_file("nats") / "jetstream")
        if free < needed:
            return warning(
                "disk",
                f"{bytes_of(free)} are free, but the broker may need {bytes_of(needed)} more",
                f"Free space, or set STEWARD_STREAM_MAX_BYTES below {free // 2}: a full disk stops the broker.",
            )
    return ok("disk", f"{bytes_of(free)} are free")


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _secrets(conf: Conf) -> Check:
    # The database and its journals hold session keys.
    files = [conf.data_dir, *conf.sqlite_files(), conf.data_file("secret_key"), conf.data_file("kernel.nk")]
    files += secret_files(conf)
    files += [Path(conf.nats_seed_file)] if conf.nats_seed_file else []
    readable = [str(path) for path in files if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    if readable:
        names = " ".join(readable)
        return failed(
            "secrets",
            f"other users can read {names}",
            f"Run chmod go= {names}. Replace them if somebody may have read them.",
        )
    return ok("secrets", "other users can read none of them")


def _hosts(conf: Conf) -> Check:
    url = urlsplit(conf.base_url)
    if conf.base_url and (url.scheme not in ("http", "https") or not url.hostname):
        return failed(
            "addresses",
            f"STEWARD_BASE_URL={conf.base_url} is not a URL",
            "Set it to the URL that nodes and browsers use, for example https://errors.example.org.",
        )
    if conf.debug:
        return warning(
            "addresses", "STEWARD_DEBUG is on: error pages show source code", "Unset STEWARD_DEBUG in production."
        )
    if "*" in conf.allowed_hosts:
        return warning(
            "addresses",
            "requests for any host name are accepted",
            "Name your hosts in STEWARD_ALLOWED_HOSTS instead of *.",
        )
    if conf.is_behind_tls and not conf.trusted_proxies:
        return warning(
            "addresses",
            "STEWARD_TRUSTED_PROXIES is empty: no request counts as https, and pages redirect to https again and again",
            "Set it to the address of the proxy that ends TLS, for example 127.0.0.1.",
        )
    if url.scheme == "http" and not _is_here(url.hostname or ""):
        return warning(
            "addresses",
            f"{conf.base_url} is not encrypted: tokens and passwords are sent in clear text",
            "Use a proxy with TLS, and set STEWARD_BASE_URL to its https:// URL.",
        )
    return ok("addresses", f"{conf.base_url or 'the address of the web server'}; hosts {', '.join(conf.allowed_hosts)}")


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _static_files() -> Check:
    missing = [name for name in STATIC_FILES if not finders.find(name)]
    if missing:
        return failed("static files", f"{', '.join(missing)} were not found", f"Install {DISTRIBUTION}[server] again.")
    return ok("static files", f"found where they are installed ({len(STATIC_FILES)} checked)")
