"""What can go wrong on a node's side, as few kinds as a program can act on."""


class NodeError(Exception):
    """Base of all of them; the message is one sentence for whoever runs the program."""


class CredentialsError(NodeError):
    """The file with the node's credentials cannot be used."""


class JournalError(NodeError):
    """The journal cannot be read or written (disk full, damaged, made by a newer version): nothing was kept."""


class ProcessTaken(NodeError):
    """A worker of this name runs already on this node."""


class Disconnected(NodeError):
    """A worker's line to its supervisor is gone, or it has none."""
