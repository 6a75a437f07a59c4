"""What the frame of every page shows: how things are, what waits, what this person may do."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property

from errorkernel import conf
from errorkernel.broker.streams import NEARLY_FULL
from errorkernel.core.liveness import KERNEL_LATE_S
from errorkernel.models import BrokerStream, Counter, KernelHeartbeat, Node
from errorkernel.store import fleet, stream
from errorkernel.store.incidents import waiting_count
from errorkernel.store.rules import listed
from errorkernel.web.access import ADD_NODES, ANSWER, CHANGE_RULES
from errorkernel.web.texts import texts

BACKLOG = 50
"""Reports still to be stored that a page speaks of; the same as in condition.js."""


class Frame:
    """Read when a template asks, at most once a request: pages of others (the admin) cost nothing."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    @cached_property
    def now(self) -> datetime:
        return timezone.now()

    @cached_property
    def may_answer(self) -> bool:
        return self._request.user.has_perm(ANSWER)

    @cached_property
    def may_add_nodes(self) -> bool:
        return self._request.user.has_perm(ADD_NODES)

    @cached_property
    def may_change_rules(self) -> bool:
        return self._request.user.has_perm(CHANGE_RULES)

    @property
    def texts(self) -> dict[str, str | list[str]]:
        """What the page's scripts say."""
        return texts()

    @cached_property
    def waiting(self) -> int:
        return waiting_count()

    @cached_property
    def rules_suspended(self) -> int:
        return listed().filter(enabled=True, suspended_at__isnull=False).count()

    @cached_property
    def events(self) -> int:
        return Counter.objects.filter(name=Counter.EVENTS).values_list("value", flat=True).first() or 0

    @cached_property
    def _beat(self) -> KernelHeartbeat | None:
        return KernelHeartbeat.objects.order_by("-at").first()

    @property
    def kernel_age_s(self) -> float | None:
        """Seconds since a kernel worker last wrote that it lives; None: never."""
        return max(0.0, (self.now - self._beat.at).total_seconds()) if self._beat else None

    @property
    def kernel_is_late(self) -> bool:
        return self.kernel_age_s is None or self.kernel_age_s > KERNEL_LATE_S

    @property
    def broker(self) -> bool:
        return self._beat is not None and self._beat.broker_works

    @cached_property
    def lag(self) -> int:
        return stream.not_stored()

    @property
    def has_backlog(self) -> bool:
        """Whether so much is still to be stored that it is worth saying: a little is under way at any moment."""
        return self.lag >= BACKLOG

    @cached_property
    def nearly_full(self) -> int | None:
        """To how many percent the stream of Steward's nodes is full, if that is worth saying."""
        fullest = BrokerStream.objects.filter(filled__gte=NEARLY_FULL).values_list("filled", flat=True).first()
        return None if fullest is None else round(100 * fullest)

    @cached_property
    def nodes(self) -> int:
        return Node.objects.filter(enabled=True).count()

    @cached_property
    def missing(self) -> dict[str, int]:
        """``late`` and ``gone`` nodes, as far as anybody could have heard them."""
        return {"late": 0, "gone": 0} if self.kernel_is_late else fleet.count_missing(self.now)

    @property
    def nodes_late(self) -> int:
        """Nodes that have not been heard from, late or gone."""
        return sum(self.missing.values())

    @property
    def base_url(self) -> str:
        """The address that nodes and browsers reach us under, without a slash at its end."""
        return (conf.get().base_url or f"{self._request.scheme}://{self._request.get_host()}").rstrip("/")


def console(request: HttpRequest) -> dict[str, Any]:
    """Context processor: ``frame``."""
    return {"frame": Frame(request)}
