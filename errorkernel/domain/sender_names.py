"""Names of Steward/ctrl nodes: their own name with the suffix ``@steward``.

Such a node's own name is not authenticated. Names of nodes with credentials hold no ``@``, so the two never collide,
and different names stay different.
"""

SUFFIX = "@steward"


def with_suffix(name: str) -> str:
    """The name under which a node is stored and shown."""
    return name + SUFFIX


def without_suffix(name: str) -> str:
    """The node's own name; other names stay unchanged."""
    return name.removesuffix(SUFFIX)
