"""Every setting of the product: typed, read once from the environment, listed by ``steward doctor``.

``get()`` is the only access to them. An invalid value stops the program at its start with one sentence.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from errorkernel.domain.limits import Limits
from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.messages import TranslatableText as _

PREFIX = "STEWARD_"


class ConfError(Exception):
    """A setting is wrong or its file cannot be used; the message is one sentence for the person who started the
    program."""


def _setting(default: Any, doc: TranslatableText, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"doc": doc, "secret": secret})


_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Conf:
    """One attribute per setting; its environment variable is ``STEWARD_`` and the name in capitals."""

    data_dir: Path = _setting(Path(), _("Directory for all data that must be kept (default ~/.local/share/steward)."))
    database_url: str = _setting(
        "", _("sqlite:///path or postgresql://user:password@host/name; empty: SQLite in the data dir."), secret=True
    )
    nats_url: str = _setting(
        "", _("Address of an external NATS broker; empty: Steward starts an embedded nats-server.")
    )
    nats_host: str = _setting("127.0.0.1", _("Address on which the embedded broker listens."))
    nats_port: int = _setting(0, _("Port of the embedded broker; 0: its last port, otherwise any free one."))
    nats_seed_file: str = _setting("", _("File with Steward's nkey seed for an external broker."))
    nats_log_file: str = _setting(
        "", _("Log file of an external broker, from which access denials are read; empty: none are shown.")
    )
    nats_server: str = _setting("", _("Path of another nats-server binary; empty: the installed one."))
    legacy: str = _setting(
        "off",
        _(
            "Steward/ctrl nodes: off, jetstream (a stream of the broker stores their errors) or plain "
            "(direct subscription with acknowledgements, for brokers without JetStream)."
        ),
    )
    legacy_nats_url: str = _setting(
        "", _("Address of the broker of those nodes; empty: the embedded one, to which the nodes move.")
    )
    legacy_seed_file: str = _setting(
        "", _("File with Steward's nkey seed for that broker; empty: the broker needs none.")
    )
    legacy_keys_file: str = _setting(
        "", _("File with these nodes at the embedded broker: a name and a public nkey per line.")
    )
    legacy_central: str = _setting(
        "*", _("Name of the central node that receives their heartbeats; *: any name without a dot.")
    )
    legacy_replaces_central: bool = _setting(
        False,
        _(
            "This server is that central node and acknowledges heartbeats. Enable it only when no "
            "other central node runs."
        ),
    )
    legacy_stream_bytes: int = _setting(1024**3, _("Maximum size of the stream for their errors, in bytes."))
    legacy_nodes: int = _setting(10_000, _("Maximum number of such nodes, because their names are not authenticated."))
    legacy_error_log: str = _setting(
        "", _("File to which their errors are written as lines in the format of errorCentral; empty: none.")
    )
    legacy_reply_timeout_s: int = _setting(
        10, _("Seconds to wait for a reply of a Steward/ctrl node, for each step of an action.")
    )
    channel_layer: str = _setting("memory", _("memory (one process), nats, or redis://host:port/db."))
    secret_key: str = _setting(
        "", _("Django's secret key; empty: generated at the first start and stored in the data directory."), secret=True
    )
    admin_password_file: str = _setting(
        "",
        _("File with the password of the account admin, read at the first start; empty: one is generated and printed."),
    )
    allowed_hosts: tuple[str, ...] = _setting(
        ("localhost", "127.0.0.1", "[::1]"), _("Host names that browsers may use, separated by commas; *: any.")
    )
    base_url: str = _setting(
        "",
        _(
            "Address under which nodes and browsers reach this server, e.g. https://errors.example.org; "
            "empty: where the web process listens."
        ),
    )
    trusted_proxies: tuple[str, ...] = _setting(
        (),
        _(
            "Addresses or networks (CIDR) of the proxies in front, separated by commas. The sender's address and https "
            "are taken from the X-Forwarded headers of these alone."
        ),
    )
    log_format: str = _setting("text", _("text or json."))
    log_level: str = _setting("INFO", _("DEBUG, INFO, WARNING or ERROR."))
    retention_days: int = _setting(90, _("Days after which events and actions of Steward nodes are deleted; 0: never."))
    retention_events: int = _setting(
        5_000_000, _("Maximum number of stored events; the oldest are deleted first. 0: no limit.")
    )
    quarantine_keep: int = _setting(
        50_000, _("Maximum number of stored rejected events; the oldest are deleted first.")
    )
    node_names: int = _setting(
        2000,
        _(
            "Maximum number of processes, and of problems, that the events of one node create. Further ones are "
            'counted as "other"; incidents are always kept apart. 0: no limit.'
        ),
    )
    names_keep_days: int = _setting(
        0,
        _(
            "Days after which processes, error states and problems without events are deleted, unless somebody or an "
            "incident needs them. 0: four times STEWARD_RETENTION_DAYS."
        ),
    )
    batch_events: int = _setting(500, _("Maximum number of events in one transaction."))
    stream_max_bytes: int = _setting(
        8 * 1024**3,
        _("Maximum size of the event stream on the broker, in bytes. When it is full, nodes keep new events."),
    )
    node_stream_events: int = _setting(
        100_000,
        _("Events of one node in the event stream; beyond it, this node alone keeps new events. 0: no limit."),
    )
    metrics_port: int = _setting(0, _("Port on which `steward kernel` serves /metrics; 0: none."))
    kill_needs_two_above: int = _setting(
        20,
        _(
            "Approval by a second person: a decision (kill or stop) for more processes than this needs "
            "it. It is also the most processes that all rules together may end within 60 s. 0: no limit."
        ),
    )
    slo_decided_s: int = _setting(
        300, _("Objective of the overview: seconds within which an incident is to be decided.")
    )
    slo_share: float = _setting(
        0.95, _("Objective of the overview: share of incidents decided in that time, above 0 and below 1.")
    )
    canary_watch_s: int = _setting(
        60,
        _(
            "Observation time of a canary after its decision was applied, in seconds. Then the decision "
            "can be applied to the rest."
        ),
    )
    event_bytes: int = _setting(_LIMITS.event_bytes, _("Maximum size of an event, in bytes; larger ones are rejected."))
    text_bytes: int = _setting(
        _LIMITS.text_bytes, _("Maximum length of an error text, in bytes; longer ones are truncated.")
    )
    stack_bytes: int = _setting(
        _LIMITS.stack_bytes, _("Maximum length of a stack trace, in bytes; longer ones are truncated.")
    )
    data_bytes: int = _setting(
        _LIMITS.data_bytes, _("Maximum length of message data, in bytes; longer data is truncated.")
    )
    tags: int = _setting(_LIMITS.tags, _("Maximum number of tags of an event; further ones are dropped."))
    tag_chars: int = _setting(
        _LIMITS.tag_chars, _("Maximum length of a tag's name and value, in characters; longer ones are truncated.")
    )
    body_compressed_bytes: int = _setting(
        _LIMITS.body_compressed_bytes, _("Maximum size of an HTTP body as sent, in bytes.")
    )
    body_bytes: int = _setting(_LIMITS.body_bytes, _("Maximum size of an HTTP body after decompression, in bytes."))
    events_per_request: int = _setting(_LIMITS.events_per_request, _("Maximum number of events in one HTTP request."))
    node_rate_per_s: int = _setting(
        _LIMITS.node_rate_per_s, _("Events per second that a node may send over HTTP on average.")
    )
    node_burst: int = _setting(_LIMITS.node_burst, _("Events that a node may send over HTTP in one burst."))
    node_waits: int = _setting(
        _LIMITS.node_waits, _("Decisions that a node may wait for over HTTP at the same time, per web process.")
    )
    connections_per_address: int = _setting(
        256,
        _(
            "Connections to the web server from one address at the same time; 0: no limit. This machine and "
            "trusted proxies have no limit."
        ),
    )
    debug: bool = _setting(False, _("Django's debug pages, and static files read anew each time; never in production."))

    @property
    def limits(self) -> Limits:
        return Limits(**{limit.name: getattr(self, limit.name) for limit in fields(Limits)})

    @property
    def embedded_broker(self) -> bool:
        return not self.nats_url

    @property
    def legacy_on_ours(self) -> bool:
        """Whether Steward/ctrl nodes connect to the embedded broker."""
        return self.legacy != "off" and not self.legacy_nats_url and self.embedded_broker

    @property
    def base_path(self) -> str:
        """The path of the base URL without a slash at its end: every address begins with it."""
        return urlsplit(self.base_url).path.rstrip("/")

    @property
    def is_behind_tls(self) -> bool:
        return self.base_url.lower().startswith("https://")

    @property
    def trusted_networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(text, strict=False) for text in self.trusted_proxies]

    def sqlite_files(self) -> list[Path]:
        """The database file and its journals, as far as they exist, wherever they are. Empty for PostgreSQL."""
        url = urlsplit(self.database_url or f"sqlite:///{self.data_file('steward.sqlite3')}")
        if url.scheme != "sqlite":
            return []
        file = Path(unquote(url.path[1:] if url.path.startswith("//") else url.path))
        return [path for end in ("", "-wal", "-shm", "-journal") if (path := Path(f"{file}{end}")).is_file()]

    def data_file(self, name: str) -> Path:
        return self.data_dir / name


@cache
def get() -> Conf:
    """The settings of this process. Raises ConfError."""
    return load(os.environ)


def load(environ: Mapping[str, str]) -> Conf:
    """Read the settings from ``environ``. Raises ConfError with the name of the wrong variable."""
    given: dict[str, Any] = {}
    for setting in fields(Conf):
        variable = PREFIX + setting.name.upper()
        if variable in environ and environ[variable] != "":
            given[setting.name] = _parse(setting, variable, environ[variable])
    given.setdefault("data_dir", _default_data_dir(environ))
    conf = Conf(**given)
    _check(conf)
    return conf


def usual() -> Conf:
    """The settings of this process without any of the variables."""
    return load({name: value for name, value in os.environ.items() if not name.startswith(PREFIX)})


def is_given(variable: str) -> bool:
    """Whether this process's environment sets the variable; otherwise the default applies."""
    return os.environ.get(variable, "") != ""


def describe(conf: Conf) -> list[tuple[str, str, TranslatableText]]:
    """(variable, value, explanation) of every setting, secrets hidden."""
    rows = []
    for setting in fields(Conf):
        value = getattr(conf, setting.name)
        shown = ",".join(value) if isinstance(value, tuple) else str(value)
        shown = hide_login(shown)
        hidden = setting.metadata["secret"] and value
        rows.append((PREFIX + setting.name.upper(), "(set, hidden)" if hidden else shown, setting.metadata["doc"]))
    return rows


_BASE_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")
_CREDENTIALS = re.compile(r"((?:\A|,)\s*(?:[a-z][a-z0-9+.-]*://)?)[^,\s]*@", re.IGNORECASE)
"""User and password in an address, or in one of a list; a password may hold a slash."""


def hide_login(addresses: str) -> str:
    """Addresses as they may be shown: without their users and passwords."""
    return _CREDENTIALS.sub(r"\1(hidden)@", addresses)


def without_login(addresses: str) -> str:
    """Addresses for somebody else: users and passwords in them are this program's own."""
    return _CREDENTIALS.sub(r"\1", addresses)


_single_command = False


def serve_single_command() -> None:
    """This process carries out one command on an existing installation: it creates no secret and no database, and logs
    errors alone unless a level is set. To be called before the settings are read."""
    global _single_command
    _single_command = True


def serves_single_command() -> bool:
    return _single_command


def secret_key(conf: Conf) -> str:
    """Django's secret key: the setting, otherwise the file in the data directory, created (0600) where it is missing.
    A process for one command makes up one that is not stored. Raises ConfError."""
    if conf.secret_key:
        return conf.secret_key
    path = conf.data_file("secret_key")
    try:
        if _single_command and not path.exists():
            return secrets.token_urlsafe(50)
        return read_or_make_secret(path, lambda: secrets.token_urlsafe(50))
    except OSError as exc:
        raise ConfError(f"The data directory {conf.data_dir} cannot be used: {exc.strerror}.") from exc


def read_or_make_secret(path: Path, make: Any) -> str:
    """The secret in ``path``; if there is none, ``make()`` is written there with mode 0600 first. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    try:
        # O_EXCL: of two processes that start together, one creates the file and the other reads it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    secret: str = make()
    with os.fdopen(descriptor, "w") as out:
        out.write(secret + "\n")
    return secret


def _default_data_dir(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME") or (environ["HOME"] + "/.local/share" if environ.get("HOME") else "")
    return Path(base or ".").absolute() / "steward"


def _parse(setting: "Field[Any]", variable: str, text: str) -> Any:
    kind: type[Any] = type(setting.default) if setting.default is not MISSING else str
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if kind is int:
            return int(text)
        if kind is float:
            return float(text)
        if kind is tuple:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if issubclass(kind, Path):
            return Path(text).expanduser().absolute()
    except (KeyError, ValueError):
        wanted = {bool: "yes or no", float: "number"}.get(kind, "whole number")
        raise ConfError(f"{variable}={text!r} is not a {wanted}.") from None
    return text


def _check(conf: Conf) -> None:
    for setting in fields(Conf):
        value = getattr(conf, setting.name)
        if isinstance(value, int) and value < 0:
            raise ConfError(f"{PREFIX}{setting.name.upper()}={value} must not be negative.")
    if conf.log_format not in ("text", "json"):
        raise ConfError(f"STEWARD_LOG_FORMAT={conf.log_format!r} must be text or json.")
    if conf.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfError(f"STEWARD_LOG_LEVEL={conf.log_level!r} must be DEBUG, INFO, WARNING or ERROR.")
    if conf.channel_layer not in ("memory", "nats") and not conf.channel_layer.startswith(("redis://", "rediss://")):
        raise ConfError(f"STEWARD_CHANNEL_LAYER={hide_login(conf.channel_layer)!r} must be memory, nats or redis://….")
    if "@" in conf.base_url:
        raise ConfError("STEWARD_BASE_URL must not hold a user or password: pages and nodes show it.")
    if not _BASE_PATH.fullmatch(urlsplit(conf.base_url).path):
        raise ConfError(
            f"STEWARD_BASE_URL={conf.base_url!r}: its path may hold letters, digits and .-_~ only, and no empty part."
        )
    for text in conf.trusted_proxies:
        try:
            ip_network(text, strict=False)
        except ValueError:
            raise ConfError(
                f"STEWARD_TRUSTED_PROXIES={text!r} is no address or network, for example 10.0.0.7 or 10.0.0.0/24."
            ) from None
    if conf.legacy not in ("off", "jetstream", "plain"):
        raise ConfError(f"STEWARD_LEGACY={conf.legacy!r} must be off, jetstream or plain.")
    if conf.legacy != "off" and not conf.legacy_nats_url and not conf.embedded_broker:
        raise ConfError("STEWARD_LEGACY_NATS_URL must name the broker of those nodes.")
    if conf.legacy_reply_timeout_s == 0:
        raise ConfError("STEWARD_LEGACY_REPLY_TIMEOUT_S must be at least 1.")
    if not 0 < conf.slo_share < 1:
        raise ConfError(f"STEWARD_SLO_SHARE={conf.slo_share} must be above 0 and below 1, for example 0.95.")
    if conf.slo_decided_s == 0:
        raise ConfError("STEWARD_SLO_DECIDED_S must be at least 1.")
    if conf.batch_events == 0:
        raise ConfError("STEWARD_BATCH_EVENTS must be at least 1.")
