"""The client for programs on nodes: report events, ask for decisions, supervise workers. Needs no Django.

The one package that exports names, because programs write ``from errorkernel.node import Kernel``. Names are imported
at their first use: a supervised child, which needs only ``worker``, must not load the broker client.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from errorkernel.domain.values import Action, Message
    from errorkernel.node.blocking import BlockingKernel
    from errorkernel.node.client import Kernel
    from errorkernel.node.errors import CredentialsError, JournalError, NodeError, ProcessTaken
    from errorkernel.node.integrations.hooks import install_hooks
    from errorkernel.node.integrations.log_handler import KernelHandler
    from errorkernel.node.process.child import worker
    from errorkernel.node.supervision.restart_policy import Backoff, Restart
    from errorkernel.node.supervision.strategy import Strategy
    from errorkernel.node.supervisor import Supervisor

__all__ = [
    "Action",
    "Backoff",
    "BlockingKernel",
    "CredentialsError",
    "JournalError",
    "Kernel",
    "KernelHandler",
    "Message",
    "NodeError",
    "ProcessTaken",
    "Restart",
    "Strategy",
    "Supervisor",
    "install_hooks",
    "worker",
]

_HOMES = {
    "Action": "errorkernel.domain.values",
    "Message": "errorkernel.domain.values",
    "BlockingKernel": "errorkernel.node.blocking",
    "Kernel": "errorkernel.node.client",
    "KernelHandler": "errorkernel.node.integrations.log_handler",
    "install_hooks": "errorkernel.node.integrations.hooks",
    "CredentialsError": "errorkernel.node.errors",
    "JournalError": "errorkernel.node.errors",
    "NodeError": "errorkernel.node.errors",
    "ProcessTaken": "errorkernel.node.errors",
    "worker": "errorkernel.node.process.child",
    "Backoff": "errorkernel.node.supervision.restart_policy",
    "Restart": "errorkernel.node.supervision.restart_policy",
    "Strategy": "errorkernel.node.supervision.strategy",
    "Supervisor": "errorkernel.node.supervisor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
