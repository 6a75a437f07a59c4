"""Comments on incidents; those on problems are in ``store.problems``."""

from uuid import UUID

from django.db import transaction

from errorkernel.domain.messages import TranslatableText as _
from errorkernel.domain.problem_state import TEXT_MAX_CHARS, ProblemError, validated_text
from errorkernel.models import Comment, Incident
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor


def comment(incident_id: UUID, text: str, actor: Actor) -> Comment:
    """Add a comment to an incident in any state; its problem shows it too. Raises ProblemError or
    Incident.DoesNotExist."""
    text = validated_text(text, "text", TEXT_MAX_CHARS)
    if not text:
        raise ProblemError(_("A comment needs a text."), "text")
    with transaction.atomic():
        incident = Incident.objects.only("problem").get(pk=incident_id)
        made = Comment.objects.create(
            incident=incident, problem_id=incident.problem_id, user_id=actor.user_id, author=actor.id, text=text,
            at=actor.at,
        )  # fmt: skip
        after = {"comment": made.pk, "text": text}
        audit.record(audit.entry(actor, "comment", f"incident:{incident.pk}", before={}, after=after))
    return made
