"""Makes secrets of nodes and operators. They are shown once; the database stores only what verifies them."""

import base64
import binascii
import hashlib
import os
import secrets

import nkeys


def make_nkey() -> tuple[str, str]:
    """A new user nkey: (seed, public key). The seed is secret."""
    pair = nkeys.from_seed(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))
    return pair.seed.decode(), pair.public_key.decode()


def public_nkey(seed: str) -> str:
    """The public key of a seed. Raises ValueError if it is not a seed."""
    try:
        return nkeys.from_seed(bytearray(seed.strip().encode())).public_key.decode()  # type: ignore[no-any-return]
    except Exception as exc:
        raise ValueError("This is no nkey seed.") from exc


def is_public_nkey(text: str) -> bool:
    """Whether it is the public key of a user: the broker does not start with an invalid key."""
    try:
        raw = base64.b32decode(text)
    except ValueError:
        return False
    return (
        len(raw) == 35
        and raw[0] == nkeys.PREFIX_BYTE_USER
        and binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")
    )


def make_token(prefix: str) -> str:
    """A new bearer token; people and secret scanners recognize its prefix."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest(token: str) -> str:
    """The digest that the database stores of a token. A plain hash suffices: a token has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()
