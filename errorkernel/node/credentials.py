"""A node's credentials: the JSON that ``steward node add NAME --json`` prints, in a file or in the environment."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from errorkernel.node.errors import CredentialsError
from errorkernel.protocol import subjects

FILE_VARIABLE = "STEWARD_NODE_CREDENTIALS"
JSON_VARIABLE = "STEWARD_NODE_CREDENTIALS_JSON"
JOURNAL_VARIABLE = "STEWARD_NODE_JOURNAL"
BANDWIDTH_VARIABLE = "STEWARD_NODE_BANDWIDTH"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The part that the client needs."""

    node: str
    nats_url: str
    nkey_seed: str | None = field(repr=False)


def read(path: str | os.PathLike[str]) -> Credentials:
    """Raises CredentialsError."""
    try:
        text = Path(path).read_text()
    except OSError as exc:
        raise CredentialsError(f"The credentials file {path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise CredentialsError(f"The file {path} does not hold credentials of a node.") from exc
    return _parse(text, f"The file {path}")


def find(environ: Mapping[str, str]) -> Credentials:
    """``STEWARD_NODE_CREDENTIALS`` names the file, or ``STEWARD_NODE_CREDENTIALS_JSON`` holds its contents.

    Raises CredentialsError.
    """
    if environ.get(FILE_VARIABLE):
        return read(environ[FILE_VARIABLE])
    if environ.get(JSON_VARIABLE):
        return _parse(environ[JSON_VARIABLE], f"The variable {JSON_VARIABLE}")
    raise CredentialsError(
        f"No credentials of a node: set {FILE_VARIABLE} to the path of their file, or {JSON_VARIABLE} to its contents."
    )


def bandwidth(environ: Mapping[str, str]) -> float | None:
    """``STEWARD_NODE_BANDWIDTH``: bytes a second for the backlog; None where it is not set. Raises CredentialsError."""
    text = environ.get(BANDWIDTH_VARIABLE, "")
    try:
        return check_bandwidth(text) if text else None
    except ValueError as exc:
        raise CredentialsError(f"The variable {BANDWIDTH_VARIABLE}: {exc}") from exc


def check_bandwidth(text: str) -> float:
    """Raises ValueError with a sentence."""
    with contextlib.suppress(ValueError):
        if 0 < (number := float(text)) < 1e12:
            return number
    raise ValueError(f"{text!r} is not a number of bytes a second.")


def _parse(text: str, where: str) -> Credentials:
    try:
        given = json.loads(text)
        found = Credentials(str(given["node"]), str(given["nats_url"]), given.get("nkey_seed"))
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise CredentialsError(f"{where} does not hold credentials of a node.") from exc
    if not subjects.is_node_name(found.node):
        raise CredentialsError(f"{where} names the node {found.node!r}, which is not a node name.")
    return found
