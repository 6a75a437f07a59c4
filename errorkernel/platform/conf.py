"""Every setting of the product: typed, read once from the environment, listed by ``steward doctor``.

``get()`` is the only way to them. A value that cannot be right stops the program at its start with one sentence.
"""

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from errorkernel.domain.limits import Limits
from errorkernel.domain.messages import TranslatableText
from errorkernel.domain.messages import TranslatableText as _

PREFIX = "STEWARD_"


class ConfError(Exception):
    """A setting is wrong or its file cannot be used; the message is one sentence for whoever started the program."""


def _setting(default: Any, doc: TranslatableText, *, secret: bool = False) -> Any:
    return field(default=default, metadata={"doc": doc, "secret": secret})


_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Conf:
    """One attribute per setting; its environment variable is ``STEWARD_`` and the name in capitals."""

    data_dir: Path = _setting(Path(), _("Where everything is kept that must survive (default ~/.local/share/steward)."))
    database_url: str = _setting(
        "", _("sqlite:///path or postgresql://user:password@host/name; empty: SQLite in the data dir."), secret=True
    )
    nats_url: str = _setting("", _("A broker that we do not start; empty: an embedded nats-server."))
    nats_host: str = _setting("127.0.0.1", _("Address on which the embedded broker listens."))
    nats_port: int = _setting(0, _("Port of the embedded broker; 0: the one it had last time, else any free one."))
    nats_seed_file: str = _setting("", _("File with our own nkey seed, for a broker that we do not start."))
    nats_log_file: str = _setting(
        "", _("Log of a broker that we do not start, where refused attempts are read; empty: they are not seen.")
    )
    nats_server: str = _setting("", _("Path of another nats-server binary; empty: the one that was installed with us."))
    legacy: str = _setting(
        "off",
        _(
            "Nodes of Steward and ctrl: off, jetstream (a stream of the broker keeps their errors), or plain (we"
            " subscribe and acknowledge ourselves, for brokers without JetStream)."
        ),
    )
    legacy_nats_url: str = _setting("", _("The broker of those nodes; empty: the embedded one, which they move to."))
    legacy_seed_file: str = _setting("", _("File with our own nkey seed for that broker; empty: it asks for none."))
    legacy_keys_file: str = _setting(
        "", _("Those nodes at the embedded broker: a file with a name and a public nkey a line.")
    )
    legacy_central: str = _setting("*", _("The central node that they say hello to; *: any whose name has no dot."))
    legacy_replaces_central: bool = _setting(
        False, _("We are that central node, so hellos are acknowledged; never while another one is.")
    )
    legacy_stream_bytes: int = _setting(1024**3, _("Room of the stream of their errors, in bytes."))
    legacy_nodes: int = _setting(
        10_000, _("At most this many such nodes become known, since nobody vouches for their names.")
    )
    legacy_error_log: str = _setting(
        "", _("File that gets their errors as lines, as errorCentral wrote them; empty: none.")
    )
    legacy_reply_timeout_s: int = _setting(
        10, _("Seconds that a reply of a Steward or ctrl node is waited for, at each step of an action on it.")
    )
    channel_layer: str = _setting("memory", _("memory (one process), nats, or redis://host:port/db."))
    secret_key: str = _setting(
        "", _("Django's secret key; empty: made at the first start and kept in the data dir."), secret=True
    )
    admin_password_file: str = _setting(
        "",
        _("File with the password of the account admin, read at the first start; empty: one is made and printed."),
    )
    allowed_hosts: tuple[str, ...] = _setting(
        ("localhost", "127.0.0.1", "[::1]"), _("Host names that browsers may use, separated by commas; * for any.")
    )
    base_url: str = _setting(
        "",
        _("Address that nodes and browsers reach us under, e.g. https://errors.example.org; empty: where web listens."),
    )
    log_format: str = _setting("text", _("text or json."))
    log_level: str = _setting("INFO", _("DEBUG, INFO, WARNING or ERROR."))
    retention_days: int = _setting(
        90, _("Events and actions on Steward's nodes older than this many days are removed; 0: never.")
    )
    retention_events: int = _setting(5_000_000, _("At most this many events are kept, the newest; 0: no bound."))
    quarantine_keep: int = _setting(50_000, _("At most this many refused inputs are kept, the newest."))
    batch_events: int = _setting(1000, _("At most this many events share one transaction."))
    stream_max_bytes: int = _setting(
        8 * 1024**3,
        _("Room of the event stream on the broker, in bytes; when it is full, new reports wait on the nodes."),
    )
    metrics_port: int = _setting(0, _("Port on which `steward kernel` serves /metrics on its own; 0: not at all."))
    kill_needs_two_above: int = _setting(
        20,
        _(
            "An answer that kills or stops more processes than this at once needs a second person, and rules together "
            "end no more within 60 s; 0: never."
        ),
    )
    canary_watch_s: int = _setting(
        60,
        _(
            "How long the first of many is watched once it was carried out, in seconds, before the same answer to the "
            "rest is offered."
        ),
    )
    event_bytes: int = _setting(_LIMITS.event_bytes, _("Largest event, in bytes; larger ones are refused."))
    text_bytes: int = _setting(_LIMITS.text_bytes, _("Longest error text, in bytes; longer ones are cut."))
    stack_bytes: int = _setting(_LIMITS.stack_bytes, _("Longest stack, in bytes; longer ones are cut."))
    data_bytes: int = _setting(_LIMITS.data_bytes, _("Longest message data, in bytes; longer ones are cut."))
    tags: int = _setting(_LIMITS.tags, _("Tags an event may have; further ones are cut."))
    tag_chars: int = _setting(_LIMITS.tag_chars, _("Characters of a tag's name and value; longer ones are cut."))
    body_compressed_bytes: int = _setting(_LIMITS.body_compressed_bytes, _("Largest HTTP body as sent, in bytes."))
    body_bytes: int = _setting(_LIMITS.body_bytes, _("Largest HTTP body after decompression, in bytes."))
    events_per_request: int = _setting(_LIMITS.events_per_request, _("Events in one HTTP request."))
    node_rate_per_s: int = _setting(
        _LIMITS.node_rate_per_s, _("Events a second that a node may post over HTTP, sustained.")
    )
    node_burst: int = _setting(_LIMITS.node_burst, _("Events that a node may post over HTTP at once."))
    debug: bool = _setting(False, _("Django's debug pages; never in production."))

    @property
    def limits(self) -> Limits:
        return Limits(**{one.name: getattr(self, one.name) for one in fields(Limits)})

    @property
    def embedded_broker(self) -> bool:
        return not self.nats_url

    @property
    def legacy_on_ours(self) -> bool:
        """Steward's nodes connect to the broker that we start."""
        return self.legacy != "off" and not self.legacy_nats_url and self.embedded_broker

    def data_file(self, name: str) -> Path:
        return self.data_dir / name


@cache
def get() -> Conf:
    """The settings of this process. Raises ConfError."""
    return load(os.environ)


def load(environ: Mapping[str, str]) -> Conf:
    """Read the settings from ``environ``. Raises ConfError naming the variable that is wrong."""
    given: dict[str, Any] = {}
    for one in fields(Conf):
        variable = PREFIX + one.name.upper()
        if variable in environ and environ[variable] != "":
            given[one.name] = _parse(one, variable, environ[variable])
    given.setdefault("data_dir", _default_data_dir(environ))
    conf = Conf(**given)
    _check(conf)
    return conf


def usual() -> Conf:
    """What would hold for this process if none of the variables were set."""
    return load({name: value for name, value in os.environ.items() if not name.startswith(PREFIX)})


def is_given(variable: str) -> bool:
    """Whether this process's environment sets the variable; else its default holds."""
    return os.environ.get(variable, "") != ""


def describe(conf: Conf) -> list[tuple[str, str, TranslatableText]]:
    """(variable, value, explanation) of every setting, secrets hidden."""
    rows = []
    for one in fields(Conf):
        value = getattr(conf, one.name)
        shown = ",".join(value) if isinstance(value, tuple) else str(value)
        shown = re.sub(r"://[^/@\s]*@", "://(hidden)@", shown)  # a password in an address
        hidden = one.metadata["secret"] and value
        rows.append((PREFIX + one.name.upper(), "(set, hidden)" if hidden else shown, one.metadata["doc"]))
    return rows


def secret_key(conf: Conf) -> str:
    """Django's secret key: the setting, else the data dir's file, made (0600) where it is missing. Raises ConfError."""
    if conf.secret_key:
        return conf.secret_key
    path = conf.data_file("secret_key")
    try:
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
        # O_EXCL: of two processes that start together, one makes it and the other reads what the first made.
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


def _parse(one: "Field[Any]", variable: str, text: str) -> Any:
    kind: type[Any] = type(one.default) if one.default is not MISSING else str
    try:
        if kind is bool:
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if kind is int:
            return int(text)
        if kind is tuple:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if issubclass(kind, Path):
            return Path(text).expanduser().absolute()
    except (KeyError, ValueError):
        raise ConfError(f"{variable}={text!r} is not a {'yes or no' if kind is bool else 'whole number'}.") from None
    return text


def _check(conf: Conf) -> None:
    for one in fields(Conf):
        value = getattr(conf, one.name)
        if isinstance(value, int) and value < 0:
            raise ConfError(f"{PREFIX}{one.name.upper()}={value} must not be negative.")
    if conf.log_format not in ("text", "json"):
        raise ConfError(f"STEWARD_LOG_FORMAT={conf.log_format!r} must be text or json.")
    if conf.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfError(f"STEWARD_LOG_LEVEL={conf.log_level!r} must be DEBUG, INFO, WARNING or ERROR.")
    if conf.channel_layer not in ("memory", "nats") and not conf.channel_layer.startswith(("redis://", "rediss://")):
        raise ConfError(f"STEWARD_CHANNEL_LAYER={conf.channel_layer!r} must be memory, nats or redis://….")
    if conf.legacy not in ("off", "jetstream", "plain"):
        raise ConfError(f"STEWARD_LEGACY={conf.legacy!r} must be off, jetstream or plain.")
    if conf.legacy != "off" and not conf.legacy_nats_url and not conf.embedded_broker:
        raise ConfError("STEWARD_LEGACY_NATS_URL must name the broker of those nodes.")
    if conf.legacy_reply_timeout_s == 0:
        raise ConfError("STEWARD_LEGACY_REPLY_TIMEOUT_S must be at least 1.")
    if conf.batch_events == 0:
        raise ConfError("STEWARD_BATCH_EVENTS must be at least 1.")
