"""Children that were restarted too often are quarantined: not started until a decision one level up."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from errorkernel.domain.values import Decision, Level
from errorkernel.node.errors import NodeError, ProcessTaken
from errorkernel.node.reporting.event_builder import EventDraft, describe
from errorkernel.node.supervision.interfaces import Child, Host

log = logging.getLogger("errorkernel.node")

ASK_AGAIN_S = 5.0


class Quarantine:
    """One open incident about ``children``, of the process ``above``. ``on_decision`` is called once.

    If ``above`` is a worker of another program, the incident is that of ``failed_child`` itself.
    """

    def __init__(
        self,
        kernel: Host,
        above: str,
        children: Sequence[Child],
        failed_child: Child,
        on_decision: Callable[["Quarantine", Decision], None],
    ) -> None:
        self.children = tuple(children)
        self._kernel = kernel
        self.above = above
        self._on_decision = on_decision
        self._decision: Decision | None = None
        self._task = asyncio.create_task(
            self._ask(_describe(children, failed_child), failed_child.name), name=f"quarantine of {failed_child.name}"
        )

    async def withdraw(self) -> None:
        """The incident is void: it is withdrawn, or its decision, if there is one, stale."""
        self._task.cancel()
        await asyncio.wait({self._task})
        if self._decision:
            await self._kernel.withdraw(self._decision.incident, "Another incident replaces it, or it is void.")

    async def _ask(self, draft: EventDraft, failed_name: str) -> None:
        while True:
            try:
                self._decision = await self._kernel.request_decision(self.above, draft)
                break
            except ProcessTaken as exc:
                if self.above == failed_name:
                    log.error("No incident can be opened yet about a quarantine (%s): %s", draft.text, exc)
                    await asyncio.sleep(ASK_AGAIN_S)
                self.above = failed_name
            except Exception as exc:
                # Whatever it is: a quarantine without an incident would last for ever.
                is_bug = not isinstance(exc, NodeError)
                log.error("No incident can be opened yet about a quarantine (%s): %s", draft.text, exc, exc_info=is_bug)
                await asyncio.sleep(ASK_AGAIN_S)
        self._on_decision(self, self._decision)


class Quarantines:
    """The open quarantines of one group. ``on_decision`` is called once for each."""

    def __init__(self, kernel: Host, above: str, on_decision: Callable[[Quarantine, Decision], None]) -> None:
        self._kernel = kernel
        self._above = above
        self._on_decision = on_decision
        self._open: list[Quarantine] = []

    async def begin(self, children: Iterable[Child], failed_child: Child, order: Sequence[Child]) -> list[Child]:
        """Quarantine ``children``; returns all that the new incident is about.

        It replaces open incidents about some of them, and then is about theirs as well. They are named in ``order``.
        """
        concerned = set(children)
        for former in [each for each in self._open if not concerned.isdisjoint(each.children)]:
            concerned.update(former.children)
            self._open.remove(former)
            await former.withdraw()
        quarantined = [child for child in order if child in concerned]
        log.error("%s was restarted too often. Quarantined: %s", failed_child.name, _names(quarantined))
        self._open.append(Quarantine(self._kernel, self._above, quarantined, failed_child, self._on_decision))
        return quarantined

    def end(self, quarantine: Quarantine) -> bool:
        """Its decision is there; False if another quarantine has replaced it."""
        if quarantine not in self._open:
            return False
        self._open.remove(quarantine)
        return True

    async def withdraw(self, is_void: Callable[[Child], bool]) -> None:
        """Withdraw the incidents that are void for all of their children."""
        for former in [each for each in self._open if all(is_void(child) for child in each.children)]:
            self._open.remove(former)
            await former.withdraw()


def _names(children: Iterable[Child]) -> str:
    return ", ".join(child.name for child in children)


def _describe(children: Sequence[Child], failed_child: Child) -> EventDraft:
    failure, policy = failed_child.last_failure, failed_child.policy
    restarts = len(failed_child.history.restarts)
    text = f"{failed_child.name} is quarantined: {restarts} restarts in {policy.period_s:g} s, and it ended again."
    others = [child for child in children if child is not failed_child]
    if others:
        text += f" Quarantined with it: {_names(others)}."
    if failure:
        text += f" Its last failure: {failure.text}"
    details = {
        "kind": "Quarantined",
        "level": Level.CRITICAL,
        "fingerprint": ("quarantined", failed_child.name),
        "stack": failure.stack if failure else "",
        "message": failure.message if failure else None,
        # One tag per name: a tag has a maximal length, and a name may hold any separator. Surplus tags are cut off.
        "tags": {"quarantined": failed_child.name}
        | {f"quarantined {number}": child.name for number, child in enumerate(others, 2)},
    }
    return describe(text, details)
