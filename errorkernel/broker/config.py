"""The nats-server configuration, generated from who may connect: narrow permissions, one account, JetStream.

A node may publish its own reports, outcomes, hello and sync; pull and acknowledge decisions from its own durable
consumer; and listen on its own inbox. Nothing else: the subject is the identity that everything else trusts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from errorkernel.wire import subjects

ACCOUNT = "STEWARD"
MAX_PAYLOAD_BYTES = 1024 * 1024
SYNC_INTERVAL = "5s"


@dataclass(frozen=True, slots=True)
class NodeUser:
    """A node as the broker sees it."""

    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """What an embedded server is started with. ``port`` -1: any free one."""

    store_dir: str
    host: str
    port: int
    kernel_key: str
    pid_file: str
    ports_dir: str
    max_file_store: int


def node_permissions(name: str) -> dict[str, Any]:
    """Exactly what the contract lets a node do."""
    durable = subjects.durable_of(name)
    streams = (subjects.DECISIONS_STREAM, subjects.COMMANDS_STREAM)
    return {
        "publish": {
            "allow": [
                subjects.event(name),
                f"ek.out.{name}.*",
                subjects.hello(name),
                subjects.sync(name),
                *(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}" for stream in streams),
                *(f"$JS.API.CONSUMER.INFO.{stream}.{durable}" for stream in streams),
                *(f"$JS.ACK.{stream}.{durable}.>" for stream in streams),
            ]
        },
        "subscribe": {"allow": [subjects.inbox_prefix(name) + ".>"]},
    }


def users(kernel_key: str, nodes: Sequence[NodeUser]) -> list[dict[str, Any]]:
    """The users of the account: the kernel may do everything, each node what is its own."""
    entries: list[dict[str, Any]] = [{"nkey": kernel_key}]
    entries += [{"nkey": node.public_key, "permissions": node_permissions(node.name)} for node in nodes]
    return entries


def render_accounts(kernel_key: str, nodes: Sequence[NodeUser]) -> str:
    """The ``accounts`` block: what changes when nodes are added or disabled."""
    lines = ",\n".join("      " + json.dumps(user) for user in users(kernel_key, nodes))
    return (
        "accounts {\n"
        f"  {ACCOUNT} {{\n"
        "    jetstream: enabled\n"
        f"    users: [\n{lines}\n    ]\n"
        "  }\n"
        "  SYS { users: [] }\n"
        "}\n"
        "system_account: SYS\n"
    )


def render(options: ServerOptions, nodes: Sequence[NodeUser]) -> str:
    """The whole configuration file of the embedded server."""
    return (
        "# Written by `steward up`, which overwrites it; change nodes with `steward node`.\n"
        'server_name: "steward"\n'
        f"listen: {json.dumps(f'{options.host}:{options.port}')}\n"
        f"max_payload: {MAX_PAYLOAD_BYTES}\n"
        f"pid_file: {json.dumps(options.pid_file)}\n"
        f"ports_file_dir: {json.dumps(options.ports_dir)}\n"
        'ping_interval: "20s"\n'
        'write_deadline: "10s"\n'
        "jetstream {\n"
        f"  store_dir: {json.dumps(options.store_dir)}\n"
        f"  max_file_store: {options.max_file_store}\n"
        "  max_memory_store: 0\n"
        f"  sync_interval: {json.dumps(SYNC_INTERVAL)}\n"
        "}\n" + render_accounts(options.kernel_key, nodes)
    )
