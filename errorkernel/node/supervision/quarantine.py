"""Children that were restarted too often stand still, until somebody has answered one level up."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from errorkernel.domain.values import Decision, Level
from errorkernel.node.errors import NodeError, ProcessTaken
from errorkernel.node.reporting.event_builder import Report, describe
from errorkernel.node.supervision.interfaces import Child, Host

log = logging.getLogger("errorkernel.node")

ASK_AGAIN_S = 5.0


class Quarantine:
    """One open question about ``children``, in the name of ``above``; ``answered`` is called once, with its answer.

    Where ``above`` is another program's worker, it is asked in the name of the ``culprit`` itself.
    """

    def __init__(
        self,
        kernel: Host,
        above: str,
        children: Sequence[Child],
        culprit: Child,
        answered: Callable[["Quarantine", Decision], None],
    ) -> None:
        self.children = tuple(children)
        self._kernel = kernel
        self.above = above
        self._answered = answered
        self._decision: Decision | None = None
        self._task = asyncio.create_task(
            self._ask(_report(children, culprit), culprit.name), name=f"quarantine of {culprit.name}"
        )

    async def give_up(self) -> None:
        """The question no longer stands: it is withdrawn, or its answer, if there is one, stale."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._decision:
            await self._kernel.give_up(self._decision.incident, "It is asked about otherwise, or no longer.")

    async def _ask(self, report: Report, culprit: str) -> None:
        while True:
            try:
                self._decision = await self._kernel.put(self.above, report)
                break
            except ProcessTaken as exc:
                if self.above == culprit:
                    log.error("It cannot be asked yet about a quarantine (%s): %s", report.text, exc)
                    await asyncio.sleep(ASK_AGAIN_S)
                self.above = culprit
            except Exception as exc:
                # Whatever it was: a quarantine that nobody is asked about would last for ever.
                log.error("It cannot be asked yet about a quarantine (%s): %s", report.text, exc, exc_info=_ours(exc))
                await asyncio.sleep(ASK_AGAIN_S)
        self._answered(self, self._decision)


class Quarantines:
    """The open ones of one supervisor. ``answered`` is called once for each that gets its answer."""

    def __init__(self, kernel: Host, above: str, answered: Callable[[Quarantine, Decision], None]) -> None:
        self._kernel = kernel
        self._above = above
        self._answered = answered
        self._open: list[Quarantine] = []

    async def begin(self, children: Iterable[Child], culprit: Child, order: Sequence[Child]) -> list[Child]:
        """Ask about ``children``, and, in place of open questions about some of them, about theirs: about whom.

        ``order``: in which they are named.
        """
        concerned = set(children)
        for former in [one for one in self._open if not concerned.isdisjoint(one.children)]:
            concerned.update(former.children)
            self._open.remove(former)
            await former.give_up()
        still = [one for one in order if one in concerned]
        log.error("%s was restarted too often; nothing starts any more of: %s", culprit.name, _names(still))
        self._open.append(Quarantine(self._kernel, self._above, still, culprit, self._answered))
        return still

    def end(self, quarantine: Quarantine) -> bool:
        """It is being answered; False where another one has taken its place."""
        if quarantine not in self._open:
            return False
        self._open.remove(quarantine)
        return True

    async def give_up(self, are_done: Callable[[Child], bool]) -> None:
        """Withdraw the questions about children all of whom are done with."""
        for former in [one for one in self._open if all(are_done(child) for child in one.children)]:
            self._open.remove(former)
            await former.give_up()


def _names(children: Iterable[Child]) -> str:
    return ", ".join(one.name for one in children)


def _ours(exc: Exception) -> bool:
    return not isinstance(exc, NodeError)


def _report(children: Sequence[Child], culprit: Child) -> Report:
    failure, policy = culprit.last_failure, culprit.policy
    restarts = len(culprit.history.restarts)
    text = f"{culprit.name} is quarantined: restarted {restarts} times in {policy.period_s:g} s, and it ended again."
    others = [one for one in children if one is not culprit]
    if others:
        text += f" With it stand still: {_names(others)}."
    if failure:
        text += f" Its last failure: {failure.text}"
    said = {
        "kind": "Quarantined",
        "level": Level.CRITICAL,
        "fingerprint": ("quarantined", culprit.name),
        "stack": failure.stack if failure else "",
        "message": failure.message if failure else None,
        # One tag a name: a tag's length is limited, and names may hold any separator. More than fit are left out.
        "tags": {"quarantined": culprit.name} | {f"quarantined {n}": one.name for n, one in enumerate(others, 2)},
    }
    return describe(text, said)
