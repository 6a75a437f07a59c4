"""Registry: files of senders in the data directory."""

from pathlib import Path

from errorkernel.platform.conf import Conf
from errorkernel.senders.steward.broker.account import SEED_FILE
from errorkernel.senders.steward.protocol import signing_key


def secret_files(conf: Conf) -> list[Path]:
    """Secrets of senders, readable for their owner only; each may be missing."""
    return [signing_key.path(conf), conf.data_file(SEED_FILE)]
