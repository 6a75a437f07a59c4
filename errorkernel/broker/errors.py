"""Errors of the broker connection, by the reaction of the caller."""


class BrokerError(Exception):
    """Base class of all errors of the broker connection."""


class BrokerAway(BrokerError):
    """Not connected, or no reply in time: the same call may succeed later."""


class BrokerSilent(BrokerAway):
    """Connected, and no answer in time."""


class ShareFull(BrokerAway):
    """The node's share of the stream is full: the same call succeeds when the kernel has stored some of it."""


class BrokerRefused(BrokerError):
    """The broker refused the call (permission, limit, wrong stream): repeating it does not help."""


class BrokerStartError(BrokerError):
    """The embedded broker could not be started; the message is a sentence for the operator."""
