"""Children that were restarted too often stand still, until somebody has answered one level up."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from errorkernel.core.values import Decision, Level
from errorkernel.node.errors import NodeError
from errorkernel.node.reports import Report, describe

if TYPE_CHECKING:
    from errorkernel.node.client import Kernel
    from errorkernel.node.supervision import Supervised

log = logging.getLogger("errorkernel.node")

ASK_AGAIN_S = 5.0


class Quarantine:
    """One open question about ``children``, in the name of ``above``; ``answered`` is called once, with its answer."""

    def __init__(
        self,
        kernel: "Kernel",
        above: str,
        children: Sequence["Supervised"],
        culprit: "Supervised",
        answered: Callable[["Quarantine", Decision], None],
    ) -> None:
        self.children = tuple(children)
        self._kernel = kernel
        self._above = above
        self._answered = answered
        self._decision: Decision | None = None
        self._task = asyncio.create_task(self._ask(_report(children, culprit)), name=f"quarantine of {culprit.name}")

    async def give_up(self) -> None:
        """The question no longer stands: it is withdrawn, or its answer, if there is one, stale."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._decision:
            await self._kernel.give_up(self._decision.incident, "Another quarantine has taken its place.")

    async def _ask(self, report: Report) -> None:
        while True:
            try:
                self._decision = await self._kernel.put(self._above, report)
                break
            except Exception as exc:
                # Whatever it was: a quarantine that nobody is asked about would last for ever.
                log.error("It cannot be asked yet about a quarantine (%s): %s", report.text, exc, exc_info=_ours(exc))
                await asyncio.sleep(ASK_AGAIN_S)
        self._answered(self, self._decision)


def _ours(exc: Exception) -> bool:
    return not isinstance(exc, NodeError)


def _report(children: Sequence["Supervised"], culprit: "Supervised") -> Report:
    failure, policy = culprit.last_failure, culprit.policy
    restarts = len(culprit.history.restarts)
    text = f"{culprit.name} is quarantined: restarted {restarts} times in {policy.period_s:g} s, and it ended again."
    others = ", ".join(one.name for one in children if one is not culprit)
    if others:
        text += f" With it stand still: {others}."
    if failure:
        text += f" Its last failure: {failure.text}"
    said = {
        "kind": "Quarantined",
        "level": Level.CRITICAL,
        "fingerprint": ("quarantined", culprit.name),
        "stack": failure.stack if failure else "",
        "message": failure.message if failure else None,
        "tags": {"quarantined": culprit.name},
    }
    return describe(text, said)
