"""Permissions on a broker that nodes of Steward and ctrl connect to: the kernel's and theirs.

On the embedded broker they are part of its configuration. For another broker ``steward broker-config --steward`` prints
them.
"""

import json
from typing import Any

from errorkernel.protocol.subjects import KERNEL_DURABLE
from errorkernel.senders.steward.protocol.operator_messages import OPERATOR_NAME
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM, ERROR_SUBJECTS

_OPERATOR_METHODS = ("OpProcessList", "OpProcessStart", "OpProcessStop")
_HEAD = """\
# Permissions on a broker that nodes of Steward and ctrl connect to. Merge each block into the permissions of its user.
# `*` is one token. For node names with dots, name the nodes or add a line for each depth (*.*.REQ...).
"""


def kernel_permissions(mode: str, central: str) -> dict[str, Any]:
    """``mode``: ``plain`` or ``jetstream``. The subjects with Op or the operator's name are for managing processes."""
    errors = list(ERROR_SUBJECTS)
    heartbeats = [f"{central}.REQHello.EventNACK", f"{central}.hello"]
    requests = [f"*.REQ{method}.EventACK" for method in _OPERATOR_METHODS]
    requests += [f"*.{method[0].lower()}{method[1:]}" for method in _OPERATOR_METHODS]
    publish = [*requests, f"{OPERATOR_NAME}.*.EventACK.reply", f"{OPERATOR_NAME}.*.reply"]
    subscribe = [*heartbeats, f"{OPERATOR_NAME}.>", *(subject + ".reply" for subject in requests), "_INBOX.>"]
    if mode == "plain":
        return {
            "publish": {"allow": [*(subject + ".reply" for subject in errors), *publish]},
            "subscribe": {"allow": [*errors, *subscribe]},
        }
    stream, durable = ERROR_STREAM, KERNEL_DURABLE
    api = [f"STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]
    api += [f"CONSUMER.{verb}.{stream}.{durable}" for verb in ("DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")]
    allowed = [*("$JS.API." + call for call in api), f"$JS.ACK.{stream}.{durable}.>"]
    return {"publish": {"allow": [*allowed, *publish]}, "subscribe": {"allow": subscribe}}


def node_permissions(node: str) -> dict[str, Any]:
    """What a node needs in addition. Without the replies in ``subscribe`` it never receives the acknowledgement of an
    error, and sends it ten times."""
    replies = [subject + ".reply" for subject in ERROR_SUBJECTS]
    return {
        "publish": {"allow": [*ERROR_SUBJECTS, f"{node}.>", f"{OPERATOR_NAME}.>"]},
        "subscribe": {
            "allow": [*replies, f"{node}.>", f"{OPERATOR_NAME}.*.EventACK.reply", f"{OPERATOR_NAME}.*.reply"],
            # Nodes of early 2022 subscribe to errors by default, and would acknowledge them instead of the kernel.
            "deny": list(ERROR_SUBJECTS),
        },
    }


def shared_account_permissions() -> dict[str, Any]:
    """What a node in the shared account may not do: receive errors or acknowledge them, which the broker does.

    What such nodes send each other is not restricted.
    """
    return {
        "publish": {"deny": [subject + ".reply" for subject in ERROR_SUBJECTS]},
        "subscribe": {"deny": list(ERROR_SUBJECTS)},
    }


def render_permissions(mode: str, central: str) -> str:
    """What ``steward broker-config --steward`` prints; ``mode`` as in the setting (``off`` counts as ``jetstream``)."""
    kernel = json.dumps(kernel_permissions(mode, central), indent=2)
    node = json.dumps(node_permissions("NODE"), indent=2)
    return (
        f"{_HEAD}\n# the kernel's user\npermissions: {kernel}\n"
        f"\n# the user of each node; NODE is its name\npermissions: {node}\n"
    )
