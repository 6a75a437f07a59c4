"""How much a node sends before it waits for acknowledgements, and how fast: pure of time and of the connection.

What is on its way cannot be overtaken, so a window is as large as the link carries in about a second: an incident that
is raised meanwhile waits no longer than that. Windows start small, double while they are quick, and shrink when they
take longer.
"""

WINDOW_FIRST_BYTES = 16 * 1024
WINDOW_MIN_BYTES = 2 * 1024
WINDOW_MAX_BYTES = 256 * 1024
"""With the slowest rate that counts as progress, this bounds how long an acknowledgement may take."""
TARGET_S = 1.0
"""How long a window takes beyond the round trip."""
FULL = 0.5
"""The part of a window that must have been used for its time to say something about the link."""


class Pacer:
    """``bandwidth``: at most so many bytes a second on average; None: no limit.

    Raises ValueError for a bandwidth that is not above 0.
    """

    def __init__(self, bandwidth: float | None = None) -> None:
        if bandwidth is not None and not bandwidth > 0:
            raise ValueError("A bandwidth is more than 0 bytes a second; None: no limit.")
        self._bandwidth = bandwidth
        self._window = float(WINDOW_FIRST_BYTES)
        self._round_trip_s = float("inf")

    @property
    def window_bytes(self) -> int:
        """Size of the next window on the link."""
        most = min(WINDOW_MAX_BYTES, (self._bandwidth or WINDOW_MAX_BYTES) * TARGET_S)
        return int(min(self._window, max(most, 1)))

    def reset(self) -> None:
        """A new connection: perhaps another link."""
        self._window = WINDOW_FIRST_BYTES
        self._round_trip_s = float("inf")

    def acknowledged(self, window_bytes: int, took_s: float) -> None:
        """A window of this size was acknowledged as a whole."""
        self._round_trip_s = min(self._round_trip_s, took_s)
        transfer_s = took_s - self._round_trip_s
        if transfer_s > TARGET_S:
            self._window = max(WINDOW_MIN_BYTES, min(self._window, window_bytes) * TARGET_S / transfer_s)
        elif transfer_s < TARGET_S / 2 and window_bytes >= FULL * self.window_bytes:
            self._window = min(WINDOW_MAX_BYTES, self._window * 2)

    def pause_s(self, window_bytes: int, took_s: float) -> float:
        """How long to wait after a window, so that the bandwidth is kept."""
        return max(0.0, window_bytes / self._bandwidth - took_s) if self._bandwidth else 0.0
