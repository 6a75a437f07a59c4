"""Errors of a nats-server by their numbers: which pass, which are final.

Source: ``server/errors.json`` of nats-server.
"""

from typing import Any

from errorkernel.broker.errors import BrokerAway, BrokerRefused, ShareFull

_TRANSIENT_API_ERRORS = {
    10008,  # JetStream system temporarily unavailable
    10023,  # insufficient resources
    10039,  # JetStream not enabled for account (while it is starting)
    10047,
    10028,  # memory or storage resources exceeded
    10077,  # maximum messages/bytes exceeded with discard new: the stream is full until the kernel stores some of it
}

_FINAL_PUBLISH_ERRORS = {
    10054,  # message size exceeds maximum allowed
    10060,  # expected stream does not match
    10070,  # wrong last message id
    10071,  # wrong last sequence
    10097,  # header size exceeds maximum allowed
    10164,  # wrong last sequence, in a cluster
}
"""Errors that no repetition changes. After all others the caller tries again with the same id: a cluster reports
temporary errors as 400 too, for example 10158, "duplicate message id is in process", while a stream's leader is
paused."""

_STREAM_FULL = 10077
_SHARE_FULL_TEXT = "per subject"
"""The server uses one number for a full stream and a full subject; only the text differs."""


def publish_error(error: dict[str, Any]) -> BrokerAway | BrokerRefused:
    """For the ``error`` of an acknowledgement of a publish."""
    if error.get("err_code") == _STREAM_FULL and _SHARE_FULL_TEXT in str(error.get("description")):
        return ShareFull(_text(error))
    return BrokerRefused(_text(error)) if error.get("err_code") in _FINAL_PUBLISH_ERRORS else BrokerAway(_text(error))


def api_error(error: dict[str, Any]) -> BrokerAway | BrokerRefused:
    """For the ``error`` of a reply of JetStream's API."""
    passes = error.get("err_code") in _TRANSIENT_API_ERRORS or error.get("code") == 503
    return BrokerAway(_text(error)) if passes else BrokerRefused(_text(error))


def _text(error: dict[str, Any]) -> str:
    return f"{error.get('description', 'refused')} ({error.get('err_code', error.get('code'))})"
