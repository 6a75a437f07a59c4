"""For programs on nodes: report errors, ask and be answered. Needs no Django.

The one package that exports names: ``from errorkernel.node import Kernel`` is what people outside write.
"""

from errorkernel.core.values import Action, Message
from errorkernel.node.blocking import BlockingKernel
from errorkernel.node.client import Kernel

__all__ = ["Action", "BlockingKernel", "Kernel", "Message"]
