"""Nodes, their credentials and liveness; the kernel workers' own heartbeat."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, Sum

from errorkernel.broker.config import NodeUser
from errorkernel.broker.credentials import digest, make_nkey, make_token
from errorkernel.domain import liveness
from errorkernel.domain.liveness import STOPPED, Liveness
from errorkernel.domain.messages import TranslatableText as _
from errorkernel.models import AuditEntry, Counter, Node, Problem
from errorkernel.protocol.subjects import is_node_name
from errorkernel.store.platform import audit, counters
from errorkernel.store.platform.actor import Actor

NODE_TOKEN_PREFIX = "ekn"  # noqa: S105 - a prefix


class FleetError(Exception):
    """The operation is not possible; the message is one sentence for the person."""


@dataclass(frozen=True, slots=True)
class NodeSecrets:
    """Shown once: the database stores only what verifies them."""

    node: str
    nkey_seed: str
    token: str


def add_node(
    name: str,
    actor: Actor,
    *,
    demo: bool = False,
) -> NodeSecrets:
    """Create a node's credentials. A node that is known only from its events gets its first ones. Raises FleetError."""
    if not is_node_name(name):
        raise FleetError(_("“{name}” is not a valid node name: use 1 to 64 letters, digits, _ or -.", name=name))
    seed, public_key = make_nkey()
    token = make_token(NODE_TOKEN_PREFIX)
    kept = {"public_key": public_key, "token_digest": digest(token)}
    with transaction.atomic():
        known = Node.objects.filter(name=name).first()
        if known and known.public_key:
            raise FleetError(_("A node named {name} already exists.", name=name))
        if known:
            Node.objects.filter(pk=known.pk).update(**kept)
        else:
            try:
                with transaction.atomic():
                    Node.objects.create(name=name, demo=demo, **kept)
            except IntegrityError:
                raise FleetError(_("A node named {name} already exists.", name=name)) from None
        audit.record(
            audit.entry(
                actor, "add", f"node:{name}",
                before={"public_key": None} if known else {}, after={"public_key": public_key},
            )
        )  # fmt: skip
        counters.take(Counter.NODES)
    return NodeSecrets(name, seed, token)


def renew_node(name: str, actor: Actor) -> NodeSecrets:
    """New credentials for a node; the old ones stop working. Raises FleetError."""
    seed, public_key = make_nkey()
    token = make_token(NODE_TOKEN_PREFIX)
    with transaction.atomic():
        former = Node.objects.select_for_update().filter(name=name).values_list("public_key", flat=True).first()
        if former is None:
            raise FleetError(_("There is no node named {name}.", name=name))
        Node.objects.filter(name=name).update(
            previous_public_key=F("public_key"), public_key=public_key, token_digest=digest(token)
        )
        audit.record(
            audit.entry(
                actor, "renew", f"node:{name}",
                before={"public_key": former}, after={"public_key": public_key},
            )
        )  # fmt: skip
        counters.take(Counter.NODES)
    return NodeSecrets(name, seed, token)


def set_node_enabled(name: str, enabled: bool, actor: Actor) -> None:
    """Enable or disable a node for the broker and HTTP. Raises FleetError."""
    with transaction.atomic():
        node = Node.objects.filter(name=name).first()
        if node is None:
            raise FleetError(_("There is no node named {name}.", name=name))
        if node.enabled == enabled:
            return
        Node.objects.filter(pk=node.pk).update(enabled=enabled)
        audit.record(
            audit.entry(
                actor,
                "enable" if enabled else "disable",
                f"node:{name}",
                before={"enabled": node.enabled},
                after={"enabled": enabled},
            )
        )
        counters.take(Counter.NODES)


def note_signing_key(public_key: str, actor: Actor) -> None:
    """Record that messages to ctrl nodes are signed with another key from now on."""
    known = AuditEntry.objects.filter(action="make", target="signing-key").order_by("-id").first()
    audit.record(
        audit.entry(
            actor, "make", "signing-key",
            before=known.after if known else {}, after={"public_key": public_key},
        )
    )  # fmt: skip


def broker_users() -> list[NodeUser]:
    """The nodes that the broker accepts."""
    known = Node.objects.filter(enabled=True).exclude(public_key="").order_by("name")
    return [NodeUser(name, key) for name, key in known.values_list("name", "public_key")]


def node_names() -> list[str]:
    """Every node that decisions can be sent to. Names with dots belong to Steward/ctrl and have no subject of ours."""
    return [name for name in Node.objects.values_list("name", flat=True) if is_node_name(name)]


def nodes_revision() -> int:
    return counters.current(Counter.NODES)


def names_by_token(tokens: list[str]) -> dict[str, str]:
    """The names of the enabled nodes that these HTTP tokens belong to; unknown tokens are left out."""
    tokens_by_digest = {digest(token): token for token in tokens if token.startswith(NODE_TOKEN_PREFIX + "_")}
    found = Node.objects.filter(token_digest__in=tokens_by_digest, enabled=True).values_list("token_digest", "name")
    return {tokens_by_digest[token_digest]: name for token_digest, name in found}


def note_http_contact(names: Iterable[str], *, now: datetime) -> None:
    """These nodes have used HTTP."""
    Node.objects.filter(name__in=list(names)).update(http_at=now)


def nodes_by_liveness(wanted: Liveness, now: datetime, prefix: str = "") -> Q:
    """A filter for nodes of this liveness (``domain.liveness``); ``prefix``: the path to the node, e.g. ``node__``."""

    def condition(**terms: Any) -> Q:
        return Q(**{prefix + name: value for name, value in terms.items()})

    silent = condition(late_at__isnull=True, http_at__isnull=True, last_event_at__isnull=True)
    match wanted:
        case Liveness.ALIVE:
            return condition(late_at__gt=now)
        case Liveness.LATE:
            return condition(late_at__lte=now, gone_at__gt=now)
        case Liveness.GONE:
            return condition(gone_at__lte=now)
        case Liveness.NO_HEARTBEAT:
            return condition(late_at__isnull=True) & ~silent
        case Liveness.NEVER:
            return silent


def processes_by_liveness(wanted: Liveness, now: datetime) -> Q:
    """A filter for processes of this liveness (``domain.liveness``)."""
    unnamed = ~Q(state="") & Q(
        node__heartbeat_at__isnull=False, last_seen__lte=F("node__heartbeat_at") - liveness.GONE_AFTER
    )
    as_node = nodes_by_liveness(wanted, now, "node__")
    if wanted is Liveness.GONE:
        return Q(state=STOPPED) | unnamed | as_node
    named = (
        Q(state="")
        | Q(node__heartbeat_at__isnull=True)
        | Q(last_seen__gt=F("node__heartbeat_at") - liveness.GONE_AFTER)
    )
    return as_node & ~Q(state=STOPPED) & named


def count_nodes(now: datetime) -> dict[str, int]:
    """Liveness → number of enabled nodes."""
    enabled = Node.objects.filter(enabled=True)
    return {liveness.value: enabled.filter(nodes_by_liveness(liveness, now)).count() for liveness in Liveness}


def demo_nodes() -> list[str]:
    """The enabled nodes of the demo."""
    return list(Node.objects.filter(demo=True, enabled=True).values_list("name", flat=True))


def demo_events() -> int:
    """How many events of the demo's nodes are stored."""
    return int(Node.objects.filter(demo=True).aggregate(all=Sum("events", default=0))["all"])


def remove_demo(*, now: datetime) -> int:
    """Remove the demo nodes with all their data, and problems that no other node has; returns the number of nodes."""
    with transaction.atomic():
        gone = list(Node.objects.filter(demo=True).values("name", "public_key", "enabled", "events"))
        Node.objects.filter(demo=True).delete()
        Problem.objects.filter(error_states__isnull=True).delete()
        audit.record(
            *(audit.entry(Actor.system(now), "remove", f"node:{node['name']}", before=node, after={}) for node in gone)
        )
        counters.take(Counter.NODES)
    return len(gone)


def note_floods(messages: Mapping[str, int], *, now: datetime) -> None:
    """Note how many messages these nodes have in the event stream: far more than can be stored at once."""
    for name, count in messages.items():
        Node.objects.filter(name=name).update(flood_messages=count, flooded_at=now)
