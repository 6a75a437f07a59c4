"""The loop of a demo worker: one work item after the other; failures are reported, and some open an incident."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from errorkernel.domain.values import Message
from errorkernel.node import worker

TAGS = {"demo": "true"}
DICE = random.Random()  # noqa: S311 - no secret
ASK_EVERY_S = (30.0, 90.0)
"""Between two incidents of one node: often enough to try decisions out, seldom enough to read along."""
PAUSE_S = (1.5, 5.0)


class AskSchedule:
    """When the node may open the next incident. Kept in a file: a worker that was killed must not ask again at once."""

    def __init__(self, work: Path) -> None:
        self._file = work / "ask-not-before"

    def not_before(self, moment: float) -> None:
        self._file.write_text(str(moment))

    def is_due(self) -> bool:
        try:
            return time.time() >= float(self._file.read_text())
        except (OSError, ValueError):
            return False


class Counter:
    """The numbers of work items. A number is taken before the work begins: after a kill the next item follows."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def take(self) -> int:
        number = self.last() + 1
        new = self._file.with_suffix(".new")
        new.write_text(str(number))
        new.rename(self._file)
        return number

    def last(self) -> int:
        """The number that was taken last; 0 before the first."""
        with suppress(OSError, ValueError):
            return int(self._file.read_text())
        return 0


def process_items(
    work: Path, method: str, work_item: Callable[[int], str], data_of: Callable[[int], str], *, may_block: bool
) -> NoReturn:
    """Process items for ever. ``work_item`` returns the text to report; ``data_of`` the data of its message."""
    me = worker()
    schedule, counter = AskSchedule(work), Counter(work / f"{method}.next")
    while True:
        number = counter.take()
        message = Message(
            id=f"{method}-{number}", method=method, from_node="central", to_node=me.node, data=data_of(number)
        )
        try:
            result = work_item(number)
        except Exception as exc:
            if may_block and schedule.is_due():
                me.ask(exc, message=message, tags=TAGS)
                schedule.not_before(time.time() + DICE.uniform(*ASK_EVERY_S))
                me.info(f"going on after {message.id}", message=message, tags=TAGS)
            else:
                me.error(exc, message=message, tags=TAGS)
        else:
            me.info(result, message=message, tags=TAGS)
        time.sleep(DICE.uniform(*PAUSE_S))
