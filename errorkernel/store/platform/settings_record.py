"""Records changed settings in the audit trail when a role of the product starts.

The settings of the last start are read from the audit trail: each entry contains the differences to the one before.
"""

from collections.abc import Mapping
from datetime import datetime

from django.db import transaction

from errorkernel.models import AuditEntry
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

ACTION = "settings"


def note(role: str, settings: Mapping[str, str], usual: Mapping[str, str], *, now: datetime, origin: str) -> None:
    """Record what differs. ``settings``: variable → value, secrets hidden; ``usual``: the defaults, which apply before
    the first entry."""
    target = f"settings:{role}"
    with transaction.atomic():
        noted = AuditEntry.objects.filter(target=target, action=ACTION).order_by("id")
        last = dict(usual)
        for after in noted.values_list("after", flat=True):
            last |= after
        changed = [name for name in settings if settings[name] != last.get(name, "")]
        if changed:
            before = {name: last.get(name, "") for name in changed}
            after = {name: settings[name] for name in changed}
            audit.record(audit.entry(Actor.system(now, origin), ACTION, target, before=before, after=after))
