"""The id under which a message is stored in a stream.

The broker remembers ids for a moment (``broker.streams``), across all nodes. Under an id that it remembers it stores
nothing and acknowledges all the same. So the id that our senders use is one of node, name and content together.
"""

import hashlib


def of(name: str, subject: str, data: bytes) -> str:
    """``name``: the id in the contract. A repetition gives the same id, another node or content another."""
    content = hashlib.blake2b(subject.encode() + data, digest_size=16).hexdigest()
    return f"{name}:{content}"
