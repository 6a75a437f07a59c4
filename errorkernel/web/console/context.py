"""Context of every page: system status, number of pending incidents, permissions of the user."""

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.safestring import SafeString
from django.utils.translation import get_language

from errorkernel.broker.streams import NEARLY_FULL
from errorkernel.models import BulkDecision, Counter
from errorkernel.platform import conf
from errorkernel.store.incidents import bulk_decisions
from errorkernel.store.status import system_status
from errorkernel.store.status.system_status import SystemStatus
from errorkernel.web.auth.permissions import ADD_NODES, CHANGE_RULES, DECIDE
from errorkernel.web.console import navigation
from errorkernel.web.console.navigation import NavigationGroup
from errorkernel.web.console.script_texts import script

NOTES_SHOWN = 3
BACKLOG = 50
"""Unstored events from which on a page shows their number; the same as in the script of the status."""


class Frame:
    """Read when a template uses it, at most once per request, so that pages without it (the admin) cost nothing."""

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

    @cached_property
    def navigation(self) -> list[NavigationGroup]:
        """The pages that the user may open, in their groups."""
        return navigation.groups(self._request.user)

    @cached_property
    def expired_proposals(self) -> list[BulkDecision]:
        """The user's own proposals that nobody approved in time, until the user closes the note."""
        user = self._request.user
        return bulk_decisions.expired_unseen(user.pk)[:NOTES_SHOWN] if self.may_answer and user.pk else []

    @cached_property
    def groups(self) -> list[str]:
        """Names of the user's groups, sorted."""
        return sorted(self._request.user.groups.values_list("name", flat=True))

    @property
    def texts(self) -> SafeString:
        """Texts of the page's scripts."""
        return script(get_language())

    @cached_property
    def condition(self) -> SystemStatus:
        """The system status now."""
        return system_status.read(self.now)

    @cached_property
    def events(self) -> int:
        return Counter.objects.filter(name=Counter.EVENTS).values_list("value", flat=True).first() or 0

    @property
    def has_backlog(self) -> bool:
        """Whether the number of unstored events is shown; small numbers are normal."""
        return self.condition.lag >= BACKLOG

    @property
    def nearly_full(self) -> int | None:
        """Fill level of the stream of Steward nodes in percent, if it is high enough to be shown."""
        return round(100 * self.condition.fullest) if self.condition.fullest >= NEARLY_FULL else None

    @property
    def base_url(self) -> str:
        """The base URL for nodes and browsers, without a slash at its end."""
        return (conf.get().base_url or f"{self._request.scheme}://{self._request.get_host()}").rstrip("/")


def console(request: HttpRequest) -> dict[str, Any]:
    """Context processor: ``frame``."""
    return {"frame": Frame(request)}
