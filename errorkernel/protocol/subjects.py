"""The NATS subjects of the contract, built and parsed.

The node's name in a subject is the only trusted identity: the broker lets a node publish only under its own name.
"""

import re
from dataclasses import dataclass
from uuid import UUID

from errorkernel.protocol.errors import ProtocolError

EVENTS_STREAM = "EK_EVENTS"
DECISIONS_STREAM = "EK_DECISIONS"
COMMANDS_STREAM = "EK_COMMANDS"
# The streams take everything below their roots, so that an event with a wrong subject becomes a rejected event
# instead of being lost.
EVENTS_SUBJECTS = ["ek.evt.>", "ek.out.>"]
DECISIONS_SUBJECTS = ["ek.dec.>"]
COMMANDS_SUBJECTS = ["ek.cmd.>"]
ALL_HEARTBEATS = "ek.hello.*"
ALL_SYNCS = "ek.sync.*"
KERNEL_DURABLE = "kernel"

# Names of Steward nodes may contain dots; they are never used in our subjects.
_NODE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed subject: ``root`` is ``evt``, ``out``, ``hello`` or ``sync``."""

    root: str
    node: str
    incident: UUID | None = None


def is_node_name(name: str) -> bool:
    return _NODE.match(name) is not None


def parse(subject: str) -> Address:
    """Parse a subject. Raises ProtocolError (``bad_subject``) for anything that the contract does not name."""
    parts = subject.split(".")
    if len(parts) >= 3 and parts[0] == "ek" and is_node_name(parts[2]):
        root, node = parts[1], parts[2]
        if root in ("evt", "hello", "sync") and len(parts) == 3:
            return Address(root, node)
        if root == "out" and len(parts) == 4:
            try:
                return Address(root, node, UUID(parts[3]))
            except ValueError:
                pass
    raise ProtocolError("bad_subject", f"Subject {subject!r} is not one of the contract.")


def event(node: str) -> str:
    return f"ek.evt.{node}"


def is_event(subject: str) -> bool:
    return subject.startswith("ek.evt.")


def outcome(node: str, incident: UUID) -> str:
    return f"ek.out.{node}.{incident}"


def outcomes(node: str) -> str:
    """The subject of all outcomes of a node."""
    return f"ek.out.{node}.*"


def decision(node: str, incident: UUID) -> str:
    return f"ek.dec.{node}.{incident}"


def decisions_of(node: str) -> str:
    return f"ek.dec.{node}.*"


def command(node: str, command: UUID) -> str:
    return f"ek.cmd.{node}.{command}"


def commands_of(node: str) -> str:
    return f"ek.cmd.{node}.*"


def heartbeat(node: str) -> str:
    return f"ek.hello.{node}"


def sync(node: str) -> str:
    return f"ek.sync.{node}"


def durable_of(node: str) -> str:
    """Name of the node's durable pull consumers on EK_DECISIONS and on EK_COMMANDS."""
    return f"node-{node}"


def inbox_prefix(node: str) -> str:
    return f"_INBOX_{node}"


def is_own_inbox(node: str, reply: str) -> bool:
    """Whether only that node can receive a reply to ``reply``.

    ``_R_`` is the server's own prefix for replies into the account of the request; no client may use it.
    """
    return reply.startswith((inbox_prefix(node) + ".", "_R_."))
