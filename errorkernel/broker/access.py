"""Address and seed of the broker: the embedded one of the data directory, or the one that the settings name."""

from dataclasses import dataclass
from pathlib import Path

from errorkernel.broker.credentials import make_nkey, public_nkey
from errorkernel.platform.conf import Conf, ConfError, read_or_make_secret


@dataclass(frozen=True, slots=True)
class Access:
    """``url`` is empty until the embedded broker has been started once."""

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
    """The kernel's nkey seed for the embedded broker, made (mode 0600) if it is missing. Raises ConfError."""
    return own_seed(conf, "kernel.nk")


def own_seed(conf: Conf, file: str) -> str:
    """The nkey seed in a file of the data directory, made (mode 0600) if it is missing. Raises ConfError."""
    try:
        return read_or_make_secret(conf.data_file(file), lambda: make_nkey()[0])
    except OSError as exc:
        raise ConfError(f"The data directory {conf.data_dir} cannot be used: {exc.strerror}.") from exc


def own_access(conf: Conf) -> Access:
    """Address and seed for the web and kernel roles. Raises ConfError for an unusable seed file."""
    if conf.embedded_broker:
        try:
            port = int((conf.data_file("nats") / "port").read_text())
        except (OSError, ValueError):
            return Access("", kernel_seed(conf))
        host = "127.0.0.1" if conf.nats_host in ("0.0.0.0", "::") else conf.nats_host  # noqa: S104 - compared, not bound
        return Access(f"nats://{host}:{port}", kernel_seed(conf))
    return Access(conf.nats_url, read_seed("STEWARD_NATS_SEED_FILE", conf.nats_seed_file))


def read_seed(variable: str, path: str) -> str | None:
    """The nkey seed in the file of the setting ``variable``; None if it is not set. Raises ConfError."""
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
