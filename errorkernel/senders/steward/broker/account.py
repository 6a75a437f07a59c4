"""The connection to the broker of Steward/ctrl nodes, and their shared account on the embedded broker."""

from errorkernel.broker.access import Access, own_access, own_seed, read_seed
from errorkernel.broker.config import NodeUser, SharedAccount
from errorkernel.broker.credentials import is_public_nkey, public_nkey
from errorkernel.platform.conf import Conf, ConfError
from errorkernel.senders.steward.broker.permissions import shared_account_permissions
from errorkernel.senders.steward.protocol.subjects import ERROR_SUBJECTS

ACCOUNT = "LEGACY"
SEED_FILE = "legacy.nk"


def steward_access(conf: Conf) -> Access:
    """Address and seed for the broker, or the embedded broker's account, of the nodes.

    Raises ConfError for an unusable seed file.
    """
    if conf.legacy_on_ours:
        return Access(own_access(conf).url, own_seed(conf, SEED_FILE))
    return Access(conf.legacy_nats_url, read_seed("STEWARD_LEGACY_SEED_FILE", conf.legacy_seed_file))


def shared_account(conf: Conf) -> SharedAccount | None:
    """The nodes' account on the embedded broker; None if they use another broker. Raises ConfError."""
    if not conf.legacy_on_ours:
        return None
    return SharedAccount(
        name=ACCOUNT,
        kernel_key=public_nkey(own_seed(conf, SEED_FILE)),
        nodes=read_nodes(conf.legacy_keys_file),
        node_permissions=shared_account_permissions(),
        stored_subjects=ERROR_SUBJECTS if conf.legacy == "jetstream" else (),
    )


def read_nodes(path: str) -> tuple[NodeUser, ...]:
    """The nodes in a file with a name and a public user nkey per line. Empty lines and lines that begin with # are
    skipped. Raises ConfError."""
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
