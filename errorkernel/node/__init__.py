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

_MODULES = {
    "errorkernel.domain.values": ("Action", "Message"),
    "errorkernel.node.blocking": ("BlockingKernel",),
    "errorkernel.node.client": ("Kernel",),
    "errorkernel.node.errors": ("CredentialsError", "JournalError", "NodeError", "ProcessTaken"),
    "errorkernel.node.integrations.hooks": ("install_hooks",),
    "errorkernel.node.integrations.log_handler": ("KernelHandler",),
    "errorkernel.node.process.child": ("worker",),
    "errorkernel.node.supervision.restart_policy": ("Backoff", "Restart"),
    "errorkernel.node.supervision.strategy": ("Strategy",),
    "errorkernel.node.supervisor": ("Supervisor",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
