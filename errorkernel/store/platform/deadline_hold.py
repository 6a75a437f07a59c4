"""Whether deadlines are held, because the wall clock of a kernel jumped; and how a person resumes them."""

from datetime import datetime

from django.db import transaction

from errorkernel.domain.messages import TranslatableText as _
from errorkernel.models import KernelClock
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

KEY = 1
TARGET = "deadlines"
HELD = _("The clock of the server jumped, and deadlines are held. Press Resume deadlines first.")


class NotHeld(Exception):
    """The deadlines are not held; the message is one sentence for the person."""


def held_since() -> datetime | None:
    """Since when deadlines are held; None: they are not."""
    return KernelClock.objects.filter(pk=KEY).values_list("held_since", flat=True).first()


def status() -> KernelClock:
    """The clock as it is stored, or as it is before any kernel ran."""
    return KernelClock.objects.filter(pk=KEY).first() or KernelClock(pk=KEY)


def resume(reason: str, actor: Actor) -> KernelClock:
    """Let deadlines apply again. Raises NotHeld."""
    with transaction.atomic():
        row = KernelClock.objects.select_for_update().filter(pk=KEY, held_since__isnull=False).first()
        if row is None:
            raise NotHeld(_("The deadlines are not held."))
        before = {"held_since": row.held_since and row.held_since.isoformat(), "jump_s": row.jump_s}
        row.held_since, row.jump_s = None, 0.0
        row.save(update_fields=["held_since", "jump_s"])
        audit.record(audit.entry(actor, "resume", TARGET, reason=reason, before=before, after={"held_since": None}))
    return row
