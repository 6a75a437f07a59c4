"""The ed25519 key that signs operators' messages to ctrl nodes that check signatures.

One file of the data directory, readable for its owner only: the 32 bytes of the seed in base64. It is read at the start
of each action, so a new key is used at once; distribute it to the nodes first.
"""

import base64
import binascii
import os
from pathlib import Path

from errorkernel.platform.conf import Conf, ConfError
from errorkernel.senders.steward.protocol.operator_messages import SIGNING_SEED_BYTES

FILE = "steward_signing_key"


class KeyExists(Exception):
    """A key exists, and nodes may use it."""


def path(conf: Conf) -> Path:
    return conf.data_file(FILE)


def seed(conf: Conf) -> bytes:
    """The seed of the key; empty if there is none. Raises ConfError for an invalid file."""
    try:
        text = path(conf).read_text()
    except FileNotFoundError:
        return b""
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfError(f"{path(conf)} cannot be read: {exc}.") from exc
    try:
        found = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != SIGNING_SEED_BYTES:
        raise ConfError(f"{path(conf)} holds no signing key; `steward signing-key make --force` makes a new one.")
    return found


def make(conf: Conf, *, force: bool = False) -> bytes:
    """A new key, on disk when this returns its seed. Raises KeyExists if there is one, unless ``force``; OSError."""
    file = path(conf)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = os.urandom(SIGNING_SEED_BYTES)
    new = file.with_name(f"{FILE}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(base64.b64encode(made) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        if force:
            new.replace(file)
        else:
            # Fails if the name exists, also if another process was faster.
            os.link(new, file)
    except FileExistsError:
        raise KeyExists from None
    finally:
        new.unlink(missing_ok=True)
    return made
