"""Permissions of Steward/ctrl nodes and of the kernel on their broker.

On the embedded broker they are part of its configuration. For another broker ``steward broker-config --steward`` prints
them in the order in which to grant them: the old errorCentral works until its own block is removed.
"""

import json
from typing import Any

from errorkernel.protocol.subjects import KERNEL_DURABLE
from errorkernel.senders.steward.protocol.operator_messages import OPERATOR_NAME
from errorkernel.senders.steward.protocol.subjects import ERROR_STREAM, ERROR_SUBJECTS

_OPERATOR_METHODS = ("OpProcessList", "OpProcessStart", "OpProcessStop")
_HEAD = """\
# Permissions on a broker that nodes of Steward and ctrl connect to. Merge each block into the permissions of its user.
# Leave a user alone that has no permissions: it may do everything, and a list would take the rest away.
# `*` is one token. For node names with dots, name the nodes or add a line for each depth (*.*.REQ...).
"""
_NODE = "# the user of each node; NODE is its name"
_ERROR_CENTRAL = """\
# the user of a node that is errorCentral, in addition, for as long as it is (until early 2022 by default every node)"""
_AFTERWARDS = """\
# the user of each node, in addition, once no node is errorCentral any more. Not earlier: a deny wins over each allow,
# and the old errorCentral would receive nothing. It keeps a node that has the role still from acknowledging for us."""


def heartbeat_subjects(central: str) -> tuple[str, ...]:
    """Subjects of heartbeats: Steward; ctrl until November 2024; ctrl since. ``central``: the name of the central
    node."""
    return f"{central}.REQHello.EventNACK", f"{central}.REQHello", f"{central}.hello"


def kernel_permissions(central: str) -> dict[str, Any]:
    """The same for both modes, so that a change of mode needs no change of the broker's configuration.

    The subjects with Op or the operator's name are for managing processes.
    """
    errors = list(ERROR_SUBJECTS)
    requests = [f"*.REQ{method}.{token}" for method in _OPERATOR_METHODS for token in ("EventACK", "CommandACK")]
    requests += [f"*.{method[0].lower()}{method[1:]}" for method in _OPERATOR_METHODS]
    stream, durable = ERROR_STREAM, KERNEL_DURABLE
    api = [f"STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]
    api += [f"CONSUMER.{verb}.{stream}.{durable}" for verb in ("DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")]
    publish = [
        *(subject + ".reply" for subject in errors),
        *("$JS.API." + call for call in api),
        f"$JS.ACK.{stream}.{durable}.>",
        *requests,
        f"{OPERATOR_NAME}.*.EventACK.reply",
        f"{OPERATOR_NAME}.*.reply",
    ]
    replies = [subject + ".reply" for subject in requests]
    subscribe = [*errors, *heartbeat_subjects(central), f"{OPERATOR_NAME}.>", *replies, "_INBOX.>"]
    return {"publish": {"allow": publish}, "subscribe": {"allow": subscribe}}


def node_permissions(node: str) -> dict[str, Any]:
    """Additional permissions of a node. Without the replies in ``subscribe`` it never receives the acknowledgement of
    an error, and sends it ten times."""
    replies = [subject + ".reply" for subject in ERROR_SUBJECTS]
    return {
        "publish": {"allow": [*ERROR_SUBJECTS, f"{node}.>", f"{OPERATOR_NAME}.>"]},
        "subscribe": {
            "allow": [*replies, f"{node}.>", f"{OPERATOR_NAME}.*.EventACK.reply", f"{OPERATOR_NAME}.*.reply"]
        },
    }


def error_central_permissions() -> dict[str, Any]:
    """Additional permissions of the node that is errorCentral: to receive and acknowledge errors."""
    return {
        "publish": {"allow": [subject + ".reply" for subject in ERROR_SUBJECTS]},
        "subscribe": {"allow": list(ERROR_SUBJECTS)},
    }


def former_central_permissions() -> dict[str, Any]:
    """Denied to each node once none is errorCentral: nodes of early 2022 subscribe to errors by default, and would
    acknowledge them instead of the kernel."""
    return {"subscribe": {"deny": list(ERROR_SUBJECTS)}}


def shared_account_permissions() -> dict[str, Any]:
    """Denied in the shared account: receiving and acknowledging errors, which the broker does.

    Messages between such nodes are not restricted.
    """
    return {
        "publish": {"deny": [subject + ".reply" for subject in ERROR_SUBJECTS]},
        "subscribe": {"deny": list(ERROR_SUBJECTS)},
    }


def render_permissions(central: str) -> str:
    """The output of ``steward broker-config --steward``."""
    blocks = (
        ("# the kernel's user", kernel_permissions(central)),
        (_NODE, node_permissions("NODE")),
        (_ERROR_CENTRAL, error_central_permissions()),
        (_AFTERWARDS, former_central_permissions()),
    )
    return _HEAD + "".join(f"\n{title}\npermissions: {json.dumps(block, indent=2)}\n" for title, block in blocks)
