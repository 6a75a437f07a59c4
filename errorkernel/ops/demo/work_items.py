"""How a demo worker works: one small piece after the other; what fails is reported, and now and then asked about."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from errorkernel.domain.values import Message
from errorkernel.node.process.child import worker

TAGS = {"demo": "true"}
DICE = random.Random()  # noqa: S311 - no secret
ASK_EVERY_S = (30.0, 90.0)
"""Between two questions of one node: often enough to try things out, seldom enough to read."""
PAUSE_S = (1.5, 5.0)


class Asking:
    """When the node may ask next. Kept in a file, since a worker that is killed must not ask again at once."""

    def __init__(self, work: Path) -> None:
        self._file = work / "ask-not-before"

    def not_before(self, moment: float) -> None:
        self._file.write_text(str(moment))

    def due(self) -> bool:
        try:
            return time.time() >= float(self._file.read_text())
        except (OSError, ValueError):
            return False


class Counter:
    """Numbers of pieces of work. Taken before the work begins: whoever follows us goes on with the next piece."""

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


def work_off(
    work: Path, method: str, piece: Callable[[int], str], data_of: Callable[[int], str], *, asks: bool
) -> NoReturn:
    """Do piece after piece. ``piece`` returns what to report; ``data_of`` is the message that asks for the piece."""
    me = worker()
    asking, counter = Asking(work), Counter(work / f"{method}.next")
    while True:
        number = counter.take()
        message = Message(
            id=f"{method}-{number}", method=method, from_node="central", to_node=me.node, data=data_of(number)
        )
        try:
            said = piece(number)
        except Exception as exc:
            if asks and asking.due():
                me.ask(exc, message=message, tags=TAGS)
                asking.not_before(time.time() + DICE.uniform(*ASK_EVERY_S))
                me.info(f"going on after {message.id}", message=message, tags=TAGS)
            else:
                me.error(exc, message=message, tags=TAGS)
        else:
            me.info(said, message=message, tags=TAGS)
        time.sleep(DICE.uniform(*PAUSE_S))
