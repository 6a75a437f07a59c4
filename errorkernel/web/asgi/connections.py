"""How many connections there may be, from one address and altogether. Free of sockets, so that it can be tested.

Altogether is what the open files allow (``ulimit -n``). When all are in use, the oldest connection without a request
under way makes room: one that sends its request slowly, or that is kept open. When there is none, a few more are taken,
on which only probes are answered.
"""

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable
from enum import Enum
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from errorkernel.platform import metrics

log = logging.getLogger("errorkernel.web")

FILES_WANTED = 65_536
FILES_OF_OURS = 140
"""Files that the product opens beside connections: databases of its threads, the broker, logs, libraries."""
CONNECTIONS_MAX = 10_000
CONNECTIONS_LEAST = 16
FILES_FEW = 1024
"""With fewer, the start and ``steward doctor`` say so."""
PROBES_ONLY_MAX = 16
LOG_INTERVAL_S = 60.0


class Admission(Enum):
    """How a new connection is treated."""

    OPEN = "open"
    PROBES_ONLY = "probes_only"
    ADDRESS_FULL = "address_full"
    ALL_FULL = "all_full"


class Connection(Protocol):
    """A connection as far as it is counted here. ``is_busy``: a request is under way."""

    @property
    def is_open(self) -> bool: ...
    @property
    def is_busy(self) -> bool: ...
    def abort(self) -> None: ...


class Connections:
    """The connections of this process. ``per_address``: 0 for no limit; ``is_exempt`` says who has none."""

    def __init__(self, *, per_address: int, total: int, is_exempt: Callable[[str], bool]) -> None:
        self._per_address = per_address
        self._total = total
        self._is_exempt = is_exempt
        self._open: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()
        self._logged_at = float("-inf")

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, address: str) -> Admission:
        """Count the connection, unless it is refused."""
        key = _network_of(address)
        if self._is_full(key) and not self._is_exempt(address):
            self.prune()
            if self._is_full(key):
                return self._refuse(Admission.ADDRESS_FULL)
        admission = Admission.OPEN
        if len(self._open) >= self._total and not self._make_room():
            if len(self._open) >= self._total + PROBES_ONLY_MAX:
                return self._refuse(Admission.ALL_FULL)
            admission = self._refuse(Admission.PROBES_ONLY)
        self._open[connection] = key
        self._counts[key] += 1
        return admission

    def release(self, connection: Connection) -> None:
        """The connection is over. It may be released twice."""
        key = self._open.pop(connection, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def prune(self) -> None:
        """Release what has ended without a word, as connections that became websockets do."""
        for connection in [connection for connection in self._open if not connection.is_open]:
            self.release(connection)

    def _is_full(self, key: str) -> bool:
        return bool(self._per_address) and self._counts[key] >= self._per_address

    def _make_room(self) -> bool:
        self.prune()
        if len(self._open) >= self._total:
            self._log_full()
            idle = next((connection for connection in self._open if not connection.is_busy), None)
            if idle is None:
                return False
            idle.abort()
            self.release(idle)
        return len(self._open) < self._total

    def _refuse(self, why: Admission) -> Admission:
        metrics.count_refused_connection(why.value)
        return why

    def _log_full(self) -> None:
        if time.monotonic() - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = time.monotonic()
            log.warning(
                "All %d connections are in use; new ones end the oldest idle one. A higher ulimit -n allows more.",
                self._total,
            )


def raise_file_limit() -> int:
    """Allow this process as many open files as it may have, at most FILES_WANTED; returns how many these are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return FILES_WANTED if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        return soft
    return wanted


def connections_allowed(files: int) -> int:
    """Connections altogether with so many open files."""
    return max(CONNECTIONS_LEAST, min(CONNECTIONS_MAX, files - FILES_OF_OURS))


def _network_of(address: str) -> str:
    """Whose connections are counted together: an IPv4 address, or the /64 that one sender has with IPv6."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or int(found) >> 64)
    return address
