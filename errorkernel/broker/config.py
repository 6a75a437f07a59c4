"""Generates the nats-server configuration: an account per node, narrow permissions, JetStream.

A node may publish its own events, outcomes, heartbeats and syncs, pull and acknowledge decisions and commands from its
own durable consumers, and subscribe to its own inbox. Nothing else: the subject is the only identity of a node.

Permissions do not cover the reply subject of a request, and JetStream replies to it with all rights of the account. In
a shared account, a node that requests its decisions with the reply ``$JS.API.STREAM.DELETE.EK_EVENTS`` deletes that
stream. So every node has its own account, which receives the replies. The kernel's account exports the subjects of the
contract, and each node's account imports its own.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from errorkernel.protocol import subjects

ACCOUNT = "STEWARD"
MAX_PAYLOAD_BYTES = 1024 * 1024
SYNC_INTERVAL = "5s"
LOG_BYTES = 16 * 1024 * 1024
LOG_FILES = 3
_ACCOUNT_PREFIX = "node-"
_CONSUMER_INFO = "ek.api.consumer-info."
STREAMS = (subjects.DECISIONS_STREAM, subjects.COMMANDS_STREAM)
"""Each node has a durable consumer in each of these."""


@dataclass(frozen=True, slots=True)
class NodeUser:
    """The data of a node that the configuration needs."""

    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Parameters of an embedded server. ``port`` -1: any free one."""

    store_dir: str
    host: str
    port: int
    kernel_key: str
    pid_file: str
    ports_dir: str
    log_file: str
    max_file_store: int
    shared_accounts: "Sequence[SharedAccount]" = ()


@dataclass(frozen=True, slots=True)
class SharedAccount:
    """One account for all nodes with a foreign protocol, and for the kernel with ``kernel_key``.

    ``node_permissions``: of each node. ``stored_subjects``: messages to them go to a stream in the kernel's account,
    which the nodes cannot access; the broker acknowledges them.
    """

    name: str
    kernel_key: str
    nodes: tuple[NodeUser, ...]
    node_permissions: dict[str, Any]
    stored_subjects: tuple[str, ...] = ()


def account_of(name: str) -> str:
    """Name of the node's account at the broker."""
    return _ACCOUNT_PREFIX + name


def node_of_account(account: str) -> str:
    """The node of an account; empty for other accounts."""
    return account.removeprefix(_ACCOUNT_PREFIX) if account.startswith(_ACCOUNT_PREFIX) else ""


def node_permissions(name: str) -> dict[str, Any]:
    """The permissions of a node, exactly those of the contract."""
    durable = subjects.durable_of(name)
    return {
        "publish": {
            "allow": [
                subjects.event(name),
                subjects.outcomes(name),
                subjects.heartbeat(name),
                subjects.sync(name),
                *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}" for stream in STREAMS),
                *(_CONSUMER_INFO + stream for stream in STREAMS),
                *(f"$JS.ACK.{stream}.{durable}.>" for stream in STREAMS),
            ]
        },
        "subscribe": {"allow": [subjects.inbox_prefix(name) + ".>"]},
    }


def exports() -> list[dict[str, Any]]:
    """The exports of the kernel's account; each node's account imports only its own."""
    return [
        {"service": subjects.event("*")},
        {"service": subjects.outcomes("*")},
        {"service": subjects.heartbeat("*")},
        {"service": subjects.sync("*")},
        *({"service": f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*", "response_type": "Stream"} for stream in STREAMS),
        *({"service": f"$JS.API.CONSUMER.INFO.{stream}.*"} for stream in STREAMS),
        *({"service": f"$JS.ACK.{stream}.>"} for stream in STREAMS),
    ]


def node_account(node: NodeUser) -> dict[str, Any]:
    """The node's account: one user and its imports from the kernel's account.

    The server itself replies to ``$JS.API`` in every account ("JetStream not enabled"), so the import renames the
    allowed calls; permissions apply to the new names.
    """
    permissions = node_permissions(node.name)
    renamed = {
        f"$JS.API.CONSUMER.INFO.{stream}.{subjects.durable_of(node.name)}": _CONSUMER_INFO + stream
        for stream in STREAMS
    }
    imported: list[dict[str, Any]] = [
        {"service": {"account": ACCOUNT, "subject": subject}}
        for subject in permissions["publish"]["allow"]
        if not subject.startswith(_CONSUMER_INFO)
    ]
    imported += [{"service": {"account": ACCOUNT, "subject": info}, "to": to} for info, to in renamed.items()]
    return {
        "users": [{"nkey": node.public_key, "permissions": permissions}],
        "imports": imported,
        "mappings": renamed,
    }


def _shared_account(account: SharedAccount) -> dict[str, Any]:
    users = [{"nkey": node.public_key, "permissions": account.node_permissions} for node in account.nodes]
    return {
        "jetstream": "enabled",
        "users": [{"nkey": account.kernel_key}, *users],
        "imports": [{"service": {"account": ACCOUNT, "subject": subject}} for subject in account.stored_subjects],
    }


def render_accounts(kernel_key: str, nodes: Sequence[NodeUser], shared_accounts: Sequence[SharedAccount] = ()) -> str:
    """The ``accounts`` block, which changes when nodes are added or disabled."""
    stored = [{"service": subject} for account in shared_accounts for subject in account.stored_subjects]
    exported = ",\n".join("      " + json.dumps(export) for export in [*exports(), *stored])
    accounts = [(account_of(node.name), node_account(node)) for node in nodes]
    accounts += [(account.name, _shared_account(account)) for account in shared_accounts]
    return (
        "accounts {\n"
        f"  {ACCOUNT} {{\n"
        "    jetstream: enabled\n"
        f"    users: [{json.dumps({'nkey': kernel_key})}]\n"
        f"    exports: [\n{exported}\n    ]\n"
        "  }\n"
        + "".join(f"  {json.dumps(name)}: {json.dumps(account)}\n" for name, account in accounts)
        + "  SYS { users: [] }\n"
        "}\n"
        "system_account: SYS\n"
    )


def render_external(
    kernel_key: str, nodes: Sequence[NodeUser], *, listen: str, store_dir: str, max_file_store: int
) -> str:
    """A complete configuration for an external server."""
    return (
        'server_name: "steward"\n'
        f"listen: {json.dumps(listen)}\n"
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        + _jetstream(store_dir, max_file_store)
        + render_accounts(kernel_key, nodes)
    )


def _jetstream(store_dir: str, max_file_store: int) -> str:
    return (
        "jetstream {\n"
        f"  store_dir: {json.dumps(store_dir)}\n"
        f"  max_file_store: {max_file_store}\n"
        "  max_memory_store: 0\n"
        f"  sync_interval: {json.dumps(SYNC_INTERVAL)}\n"
        "}\n"
    )


def render(options: ServerOptions, nodes: Sequence[NodeUser]) -> str:
    """The complete configuration of the embedded server."""
    return (
        "# Written by `steward up`, which overwrites it; change nodes with `steward node`.\n"
        'server_name: "steward"\n'
        f"listen: {json.dumps(f'{options.host}:{options.port}')}\n"
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        f"pid_file: {json.dumps(options.pid_file)}\n"
        f"ports_file_dir: {json.dumps(options.ports_dir)}\n"
        f"log_file: {json.dumps(options.log_file)}\n"
        f"logfile_size_limit: {LOG_BYTES}\n"
        f"logfile_max_num: {LOG_FILES}\n"
        'ping_interval: "20s"\n'
        'write_deadline: "10s"\n'
        + _jetstream(options.store_dir, options.max_file_store)
        + render_accounts(options.kernel_key, nodes, options.shared_accounts)
    )
