"""How our own roles reach the broker: the embedded one of the data dir, or the one that the settings name."""

from dataclasses import dataclass
from pathlib import Path

from errorkernel.broker.config import LegacyAccount, NodeUser
from errorkernel.broker.credentials import is_public_nkey, make_nkey, public_nkey
from errorkernel.platform.conf import Conf, ConfError, read_or_make_secret


@dataclass(frozen=True, slots=True)
class Access:
    """``url`` is empty while an embedded broker has never been started."""

    url: str
    seed: str | None


def make_seed_file(conf: Conf) -> bool:
    """Write an nkey seed of our own into the file that the settings name; False where it is there or none is named.

    Raises ConfError for a file that cannot be written.
    """
    path = Path(conf.nats_seed_file)
    if not conf.nats_seed_file or path.exists():
        return False
    try:
        read_or_make_secret(path, lambda: make_nkey()[0])
    except OSError as exc:
        raise ConfError(f"STEWARD_NATS_SEED_FILE={path} cannot be written: {exc.strerror}.") from exc
    return True


def kernel_seed(conf: Conf) -> str:
    """Our own nkey seed for the embedded broker, made (0600) where it is missing. Raises ConfError."""
    return _own_seed(conf, "kernel.nk")


def _own_seed(conf: Conf, file: str) -> str:
    try:
        return read_or_make_secret(conf.data_file(file), lambda: make_nkey()[0])
    except OSError as exc:
        raise ConfError(f"The data directory {conf.data_dir} cannot be used: {exc.strerror}.") from exc


def own_access(conf: Conf) -> Access:
    """Address and seed for the web and kernel roles. Raises ConfError for a seed file that cannot be used."""
    if conf.embedded_broker:
        try:
            port = int((conf.data_file("nats") / "port").read_text())
        except (OSError, ValueError):
            return Access("", kernel_seed(conf))
        host = "127.0.0.1" if conf.nats_host in ("0.0.0.0", "::") else conf.nats_host  # noqa: S104 - compared, not bound
        return Access(f"nats://{host}:{port}", kernel_seed(conf))
    return Access(conf.nats_url, _seed_in("STEWARD_NATS_SEED_FILE", conf.nats_seed_file))


def legacy_access(conf: Conf) -> Access:
    """Address and seed for the broker, or the embedded broker's account, where Steward's nodes are.

    Raises ConfError for a seed file that cannot be used.
    """
    if conf.legacy_on_ours:
        return Access(own_access(conf).url, _own_seed(conf, "legacy.nk"))
    return Access(conf.legacy_nats_url, _seed_in("STEWARD_LEGACY_SEED_FILE", conf.legacy_seed_file))


def legacy_account(conf: Conf) -> LegacyAccount | None:
    """The account of Steward's nodes on the embedded broker, if they are to be there. Raises ConfError."""
    if not conf.legacy_on_ours:
        return None
    key = public_nkey(_own_seed(conf, "legacy.nk"))
    return LegacyAccount(key, _legacy_nodes(conf.legacy_keys_file), stream=conf.legacy == "jetstream")


def _legacy_nodes(path: str) -> tuple[NodeUser, ...]:
    """A name and a public user nkey a line; empty lines and those that begin with # are passed over."""
    if not path:
        return ()
    try:
        with open(path) as file:
            lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfError(f"STEWARD_LEGACY_KEYS_FILE={path} cannot be read: {exc}.") from exc
    for parts in lines:
        if len(parts) != 2 or not is_public_nkey(parts[1]):
            raise ConfError(f"STEWARD_LEGACY_KEYS_FILE={path}: {' '.join(parts)!r} is no name with a public nkey.")
    keys = [key for _, key in lines]
    if len(set(keys)) != len(keys):
        raise ConfError(f"STEWARD_LEGACY_KEYS_FILE={path} names a key twice.")
    return tuple(NodeUser(name, key) for name, key in lines)


def _seed_in(variable: str, path: str) -> str | None:
    if not path:
        return None
    try:
        with open(path) as file:
            seed = file.read().strip()
        public_nkey(seed)
    except OSError as exc:
        raise ConfError(f"{variable}={path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise ConfError(f"{variable}={path} holds no nkey seed.") from exc
    return seed
