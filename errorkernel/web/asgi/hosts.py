"""Under which host names we answer: our own, and for probes any.

An orchestrator asks a pod by its address, and a scraper a target, and both would have to be known beforehand. What
they are told is no secret, and there is no session that another site's name could be used to get at.
"""

import logging

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.common import CommonMiddleware

from errorkernel.web.auth.api_requests import bad_request
from errorkernel.web.health.urls import urlpatterns

log = logging.getLogger("errorkernel.web")

PROBES = frozenset(f"/{route.pattern}" for route in urlpatterns)
NAMES_LOGGED_MAX = 100
"""Strangers make names up; this many are told of in the log."""

_logged: set[str] = set()


class KnownHosts(CommonMiddleware):
    """Django's, which checks the host, except for probes; a name that is not ours is told of once, in one line."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:  # type: ignore[override]
        if request.path_info in PROBES:
            return None
        try:
            return super().process_request(request)
        except DisallowedHost as exc:
            _log_once(request.META.get("HTTP_HOST", ""))
            return bad_request(request, exc)


def _log_once(name: str) -> None:
    if name not in _logged and len(_logged) < NAMES_LOGGED_MAX:
        _logged.add(name)
        log.warning("A request to %.100r was refused: it is none of STEWARD_ALLOWED_HOSTS; this is said once.", name)
