"""Registry: what senders add to the kernel worker."""

from errorkernel.kernel.extension import ExtensionFactory
from errorkernel.senders.steward.worker.extension import StewardExtension

KERNEL_EXTENSIONS: tuple[ExtensionFactory, ...] = (StewardExtension,)
