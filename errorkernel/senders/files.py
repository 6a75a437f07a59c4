"""Files of the data directory that belong to senders."""

from pathlib import Path

from errorkernel.platform.conf import Conf
from errorkernel.senders.steward.broker.account import SEED_FILE
from errorkernel.senders.steward.protocol import signing_key


def secret_files(conf: Conf) -> list[Path]:
    """Secrets of senders; each may be missing. Nobody but their owner may read them."""
    return [signing_key.path(conf), conf.data_file(SEED_FILE)]
