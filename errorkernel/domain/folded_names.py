"""What the events of a node beyond its limit of names are counted as (``STEWARD_NODE_NAMES``)."""

OTHER_PROCESS = "other"
"""Name of the process that such events of a node are counted on."""
STATES_PER_NAME = 10
"""A node may have this many times its limit of names in error states: pairs of a process and a problem."""


def other_fingerprint(node: int) -> str:
    """Fingerprint of the problem that such events of a node, named by its key, are counted on."""
    return f"other:{node}"
