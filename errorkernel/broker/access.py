"""How our own roles reach the broker: the embedded one of the data dir, or the one that the settings name."""

from dataclasses import dataclass

from errorkernel.broker.credentials import make_nkey, public_nkey
from errorkernel.conf import Conf, ConfError, read_or_make_secret


@dataclass(frozen=True, slots=True)
class Access:
    """``url`` is empty while an embedded broker has never been started."""

    url: str
    seed: str | None


def kernel_seed(conf: Conf) -> str:
    """Our own nkey seed for the embedded broker, made (0600) where it is missing. Raises ConfError."""
    try:
        return read_or_make_secret(conf.data_file("kernel.nk"), lambda: make_nkey()[0])
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
    if not conf.nats_seed_file:
        return Access(conf.nats_url, None)
    try:
        with open(conf.nats_seed_file) as file:
            seed = file.read().strip()
        public_nkey(seed)
    except OSError as exc:
        raise ConfError(f"STEWARD_NATS_SEED_FILE={conf.nats_seed_file} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise ConfError(f"STEWARD_NATS_SEED_FILE={conf.nats_seed_file} holds no nkey seed.") from exc
    return Access(conf.nats_url, seed)
