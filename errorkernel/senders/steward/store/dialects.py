"""Decides the dialect of a Steward/ctrl node whose messages differ.

Another sender can publish errors under a node's name in another format, and a message in that format may end the node.
So if messages of several dialects arrived under a name within a day, nothing is sent to it until only one has arrived
for a day, or an operator chooses one. The choice is valid while the node uses that dialect and no new one arrives.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction

from errorkernel.models import Node
from errorkernel.senders.steward.protocol.dialect import Dialect
from errorkernel.senders.steward.protocol.envelope import Compression
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

WINDOW = timedelta(hours=24)
REFRESHED = timedelta(hours=1)
"""How often the time of an unchanged dialect is stored."""
KEPT = 8


class NotSeen(Exception):
    """No message of this dialect arrived from the node recently."""


def is_due(node: Node, dialect: Any, now: datetime) -> bool:
    """Whether a message of ``dialect`` must be stored: it differs from the last, or the last one is old."""
    last = next((seen for seen in node.dialects if seen["dialect"] == dialect), None)
    return dialect is not None and (dialect != node.dialect or last is None or _at(last) < now - REFRESHED)


def with_seen(node: Node, dialect: Any, now: datetime) -> list[dict[str, Any]]:
    """``node.dialects`` after a message of ``dialect``. The previous dialect counts as seen until now, because a pause
    does not show who sent this message."""
    kinds = {_key(dialect_seen["dialect"]): dialect_seen for dialect_seen in node.dialects}
    both = [node.dialect, dialect] if node.dialect and node.dialect != dialect else [dialect]
    for dialect_seen in both:
        kinds.pop(_key(dialect_seen), None)
        kinds[_key(dialect_seen)] = {"dialect": dialect_seen, "seen_at": now.isoformat()}
    recent = [dialect_seen for dialect_seen in kinds.values() if _at(dialect_seen) > now - WINDOW]
    return recent[-KEPT:]


def kinds(node: Node, now: datetime) -> list[Any]:
    """The dialects of its messages within WINDOW; without messages, those that are undecided."""
    if not node.dialect:
        return []
    recent = [seen for seen in node.dialects if _at(seen) > now - WINDOW]
    return [seen["dialect"] for seen in recent or node.dialects] or [node.dialect]


def in_doubt(node: Node, now: datetime) -> bool:
    """Whether messages of several dialects arrived under its name and no operator has chosen one."""
    return bool(kinds(node, now)) and _settled(node, now) is None


def spoken(node: Node, now: datetime) -> Dialect | None:
    """The dialect of messages to the node; None if it is unknown, in doubt, or not supported any more."""
    try:
        return msgspec.convert(settled, Dialect) if (settled := _settled(node, now)) else None
    except msgspec.ValidationError:
        return None


def _settled(node: Node, now: datetime) -> Any:
    found, word = kinds(node, now), node.dialect_override
    if word:
        return word["dialect"] if word["dialect"] in found and all(kind in word["known"] for kind in found) else None
    return found[0] if len(found) == 1 else None


def describe(dialect: Any) -> str:
    """A distinct description for people."""
    try:
        known = msgspec.convert(dialect, Dialect)
    except msgspec.ValidationError:
        return "?"
    if known.token:
        return "Steward, gob" if known.req else "Steward, gob, without REQ"
    packed = "" if known.compression is Compression.NONE else f", {known.compression.name.lower()}"
    headers = ", with headers" if known.declared else ""
    return f"ctrl, {known.layout}, {known.format}{packed}{headers}{'' if known.req else ', without REQ'}"


def choose(
    node_name: str,
    described: str,
    reason: str,
    actor: Actor,
) -> None:
    """Choose the node's dialect. Raises NotSeen or Node.DoesNotExist."""
    with transaction.atomic():
        node = Node.objects.select_for_update().get(name=node_name)
        known = kinds(node, actor.at)
        chosen = next((kind for kind in known if describe(kind) == described), None)
        if chosen is None:
            raise NotSeen
        before = {"speaks": describe(node.dialect_override["dialect"])} if node.dialect_override else {}
        Node.objects.filter(pk=node.pk).update(dialect_override={"dialect": chosen, "known": known})
        after = {"speaks": described, "seen": [describe(kind) for kind in known]}
        entry = audit.entry(
            actor, "steward dialect", f"node:{node.name}", reason=reason, before=before, after=after
        )  # fmt: skip
        audit.record(entry)


def _at(seen: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(seen["seen_at"])


def _key(dialect: Any) -> bytes:
    return msgspec.json.encode(dialect, order="sorted")
