"""Errors of the broker connection: one class for each way in which a caller can react."""


class BrokerError(Exception):
    """Base of all of them."""


class BrokerAway(BrokerError):
    """Not connected, or no answer in time: the same call may succeed later."""


class BrokerSilent(BrokerAway):
    """Connected, and no answer in time."""


class ShareFull(BrokerAway):
    """The node's share of the stream is full: the same call succeeds when the kernel has stored some of it."""


class BrokerRefused(BrokerError):
    """The broker answered no (permission, limit, wrong stream): the same call will not succeed by being repeated."""


class BrokerStartError(BrokerError):
    """The embedded broker could not be started; the message is a sentence for the operator."""
