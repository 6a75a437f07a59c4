"""What the frame of every page shows: how things are, what waits, what this person may do."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from errorkernel.broker.streams import NEARLY_FULL
from errorkernel.models import Counter
from errorkernel.platform import conf
from errorkernel.store.status import system_status
from errorkernel.store.status.system_status import SystemStatus
from errorkernel.web.auth.permissions import ADD_NODES, CHANGE_RULES, DECIDE
from errorkernel.web.console.script_texts import script

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
        return self._request.user.has_perm(DECIDE)

    @cached_property
    def may_add_nodes(self) -> bool:
        return self._request.user.has_perm(ADD_NODES)

    @cached_property
    def may_change_rules(self) -> bool:
        return self._request.user.has_perm(CHANGE_RULES)

    @property
    def texts(self) -> SafeString:
        """What the page's scripts say."""
        return script(get_language())

    @cached_property
    def condition(self) -> SystemStatus:
        """How things are now."""
        return system_status.read(self.now)

    @cached_property
    def events(self) -> int:
        return Counter.objects.filter(name=Counter.EVENTS).values_list("value", flat=True).first() or 0

    @property
    def has_backlog(self) -> bool:
        """Whether so much is still to be stored that it is worth saying: a little is under way at any moment."""
        return self.condition.lag >= BACKLOG

    @property
    def nearly_full(self) -> int | None:
        """To how many percent the stream of Steward's nodes is full, if that is worth saying."""
        return round(100 * self.condition.fullest) if self.condition.fullest >= NEARLY_FULL else None

    @property
    def base_url(self) -> str:
        """The address that nodes and browsers reach us under, without a slash at its end."""
        return (conf.get().base_url or f"{self._request.scheme}://{self._request.get_host()}").rstrip("/")


def console(request: HttpRequest) -> dict[str, Any]:
    """Context processor: ``frame``."""
    return {"frame": Frame(request)}
