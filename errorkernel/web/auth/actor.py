"""Who does something on a page, and from where: for the audit trail."""

import hashlib
from datetime import datetime

from django.http import HttpRequest

from errorkernel.store.platform.audit import Who


def actor(request: HttpRequest, now: datetime) -> Who:
    """Who does it, as the store's functions take it."""
    user = request.user if request.user.is_authenticated else None
    return {"actor": f"user:{request.user.get_username()}", "user": user, "origin": origin_of(request), "now": now}


def origin_of(request: HttpRequest) -> str:
    """Where an act came from, for the audit trail. The session is named by a digest: its key would be a login."""
    session = hashlib.sha256((request.session.session_key or "").encode()).hexdigest()[:8]
    return f"{request.META.get('REMOTE_ADDR', '?')} session {session}"
