"""Our ed25519 key, with which operators' messages to nodes of ctrl are signed where those check signatures.

One file of the data directory, readable for its owner alone: the 32 bytes of the seed in base64. It is read whenever
an action begins, so a new key is used at once; nodes have to be told of it before.
"""

import base64
import binascii
import os
from pathlib import Path

from errorkernel.platform.conf import Conf, ConfError
from errorkernel.senders.steward.protocol.operator_messages import SIGNING_SEED_BYTES

FILE = "steward_signing_key"


class KeyExists(Exception):
    """There is a key already, and nodes may know it."""


def path(conf: Conf) -> Path:
    return conf.data_file(FILE)


def seed(conf: Conf) -> bytes:
    """The seed of our key; empty where none was made. Raises ConfError for a file that holds none."""
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
    """A new key, on disk when this returns its seed. Raises KeyExists where one is there, unless ``force``; OSError."""
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
            # Fails where the name is taken, also by somebody who was quicker by a moment.
            os.link(new, file)
    except FileExistsError:
        raise KeyExists from None
    finally:
        new.unlink(missing_ok=True)
    return made
