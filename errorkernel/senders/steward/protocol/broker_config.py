"""What to permit on a broker where nodes of Steward and ctrl are: for us, and for them. Printed, to be copied."""

import json
from typing import Any

from errorkernel.protocol import subjects
from errorkernel.senders.steward.protocol import event_mapping

OPERATOR = "errorkernel"
"""The node name that we have among Steward's."""
_OPERATOR_METHODS = ("OpProcessList", "OpProcessStart", "OpProcessStop")
_HEAD = """\
# Permissions on a broker where nodes of Steward and ctrl are. Merge each block into the permissions of its user.
# `*` is one token: where names of nodes hold dots, name the nodes, or use one line a depth (*.*.REQ...).
"""


def our_permissions(mode: str, central: str) -> dict[str, Any]:
    """To receive; to manage as well, the lines with Op and those of our own name are needed."""
    errors = list(event_mapping.ERROR_SUBJECTS)
    hellos = [f"{central}.REQHello.EventNACK", f"{central}.hello"]
    asked = [f"*.REQ{one}.EventACK" for one in _OPERATOR_METHODS]
    asked += [f"*.{one[0].lower()}{one[1:]}" for one in _OPERATOR_METHODS]
    publish = [*asked, f"{OPERATOR}.*.EventACK.reply", f"{OPERATOR}.*.reply"]
    subscribe = [*hellos, f"{OPERATOR}.>", *(one + ".reply" for one in asked), "_INBOX.>"]
    if mode == "plain":
        return {
            "publish": {"allow": [*(one + ".reply" for one in errors), *publish]},
            "subscribe": {"allow": [*errors, *subscribe]},
        }
    stream, durable = subjects.STEWARD_STREAM, subjects.KERNEL_DURABLE
    api = [f"STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO")]
    api += [f"CONSUMER.{verb}.{stream}.{durable}" for verb in ("DURABLE.CREATE", "INFO", "DELETE", "MSG.NEXT")]
    allowed = [*("$JS.API." + one for one in api), f"$JS.ACK.{stream}.{durable}.>"]
    return {"publish": {"allow": [*allowed, *publish]}, "subscribe": {"allow": subscribe}}


def node_permissions(node: str) -> dict[str, Any]:
    """What each node needs beside what it has. Without the first line of ``subscribe`` it never sees that an error has
    arrived, and sends it ten times."""
    replies = [one + ".reply" for one in event_mapping.ERROR_SUBJECTS]
    return {
        "publish": {"allow": [*event_mapping.ERROR_SUBJECTS, f"{node}.>", f"{OPERATOR}.>"]},
        "subscribe": {
            "allow": [*replies, f"{node}.>", f"{OPERATOR}.*.EventACK.reply", f"{OPERATOR}.*.reply"],
            # Nodes of early 2022 all listen for errors unless told otherwise, and would acknowledge them for us.
            "deny": list(event_mapping.ERROR_SUBJECTS),
        },
    }


def render_steward(mode: str, central: str) -> str:
    """The text for people; ``mode`` is that of the setting, where ``off`` counts as ``jetstream``."""
    ours = json.dumps(our_permissions(mode, central), indent=2)
    theirs = json.dumps(node_permissions("NODE"), indent=2)
    return (
        f"{_HEAD}\n# our user\npermissions: {ours}\n"
        f"\n# the user of each node; NODE is its name\npermissions: {theirs}\n"
    )
