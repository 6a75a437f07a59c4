"""A fair lock for writers: the longest waiting thread gets it next."""

import threading
from collections import deque


class Turns:
    """One writer at a time. Unlike ``threading.Lock``, it is granted in the order of the requests."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def take(self, timeout_s: float) -> bool:
        """Wait for the turn; False after the timeout."""
        with self._mutex:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=timeout_s):
            return True
        with self._mutex:
            if mine in self._waiting:
                self._waiting.remove(mine)
                return False
        return True  # it was granted at this moment

    def give_back(self) -> None:
        """Call it once for each turn, from any thread."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False
