"""Allowed host names: those of the settings, and any for probes.

Orchestrators and scrapers use addresses that are not known in advance. Probes return nothing secret and use no session,
so another site's name is harmless.
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
"""Unknown names that are logged, at most."""

_logged: set[str] = set()


class KnownHosts(CommonMiddleware):
    """Django's check of the host, except for probes; an unknown name is logged once, in one line."""

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
