"""The errors that the client raises: as few kinds as a program can act on."""


class NodeError(Exception):
    """Base of all of them; the message is one sentence for the operator of the program."""


class CredentialsError(NodeError):
    """The file with the node's credentials cannot be used."""


class JournalError(NodeError):
    """The journal cannot be read or written (disk full, damaged, of a newer version): nothing was kept."""


class ProcessTaken(NodeError):
    """A worker of this name already runs on this node."""


class Disconnected(NodeError):
    """The socket between a worker and its supervisor is closed, or there is none."""
