"""What a Steward or ctrl node is called here: its own name, and ``@steward`` behind it.

Nobody vouches for the name that such a node gives itself. Names of nodes with credentials hold no ``@``, so such a node
is never taken for one of them, and two different names never become one.
"""

SUFFIX = "@steward"


def with_suffix(name: str) -> str:
    """The name under which a node is kept and shown."""
    return name + SUFFIX


def without_suffix(name: str) -> str:
    """What the node calls itself; a name that is not of such a node stays as it is."""
    return name.removesuffix(SUFFIX)
