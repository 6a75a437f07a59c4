"""What a Steward or ctrl node is called here: its own name, and ``@steward`` behind it.

Nobody vouches for the name that such a node gives itself. Names of ours hold no ``@``, so whatever it says, it is not
taken for a node that has credentials of its own, and two different names never become one.
"""

SUFFIX = "@steward"


def ours(name: str) -> str:
    """The name under which a node is kept and shown."""
    return name + SUFFIX


def theirs(name: str) -> str:
    """What the node calls itself; a name that is not of such a node stays as it is."""
    return name.removesuffix(SUFFIX)
