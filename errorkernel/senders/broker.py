"""Registry: what senders add to the broker, and the external brokers of their nodes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from errorkernel.broker.access import Access
from errorkernel.broker.config import SharedAccount
from errorkernel.platform.conf import Conf
from errorkernel.senders.steward.broker.account import shared_account, steward_access
from errorkernel.senders.steward.broker.streams import error_stream


@dataclass(frozen=True, slots=True)
class ExternalBroker:
    """An external broker. ``access`` raises ConfError; ``remedy``: the action if it cannot be used; ``streams``: those
    that the kernel needs there."""

    name: str
    access: Callable[[Conf], Access]
    streams: list[dict[str, Any]]
    remedy: str


def shared_accounts(conf: Conf) -> list[SharedAccount]:
    """Accounts of senders on the embedded broker. Raises ConfError."""
    account = shared_account(conf)
    return [account] if account else []


def stream_definitions(conf: Conf) -> list[dict[str, Any]]:
    """Streams of senders on the product's broker, in the form of JetStream's API."""
    return _steward_streams(conf) if conf.legacy_on_ours else []


def external_brokers(conf: Conf) -> list[ExternalBroker]:
    if conf.legacy == "off" or conf.legacy_on_ours:
        return []
    remedy = (
        "Compare STEWARD_LEGACY_NATS_URL and STEWARD_LEGACY_SEED_FILE, and grant the permissions that"
        " `steward broker-config --steward` prints."
    )
    return [ExternalBroker("broker of Steward nodes", steward_access, _steward_streams(conf), remedy)]


def _steward_streams(conf: Conf) -> list[dict[str, Any]]:
    return [error_stream(conf.legacy_stream_bytes)] if conf.legacy == "jetstream" else []
