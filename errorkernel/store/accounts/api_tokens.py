"""Operators' personal API tokens: shown once, stored as digests."""

from datetime import datetime, timedelta

from django.contrib.auth.models import AbstractBaseUser, AbstractUser
from django.db import transaction

from errorkernel.broker.credentials import digest, make_token
from errorkernel.models import ApiToken
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

USER_TOKEN_PREFIX = "eku"  # noqa: S105 - a prefix
NOTED_EVERY = timedelta(minutes=1)


def add(owner: AbstractBaseUser, actor: Actor, *, note: str = "") -> str:
    """A new personal token of ``owner``, shown once."""
    token = make_token(USER_TOKEN_PREFIX)
    with transaction.atomic():
        row = ApiToken.objects.create(user_id=owner.pk, digest=digest(token), note=note)
        audit.record(
            audit.entry(
                actor, "add", f"token:{row.pk}", before={}, after={"of": str(owner), "note": note},
            )
        )  # fmt: skip
    return token


def revoke(token: ApiToken, actor: Actor) -> None:
    """Revoke a token; the row stays."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=actor.at):
            before, after = {"revoked_at": None}, {"revoked_at": actor.at.isoformat()}
            audit.record(audit.entry(actor, "revoke", f"token:{token.pk}", before=before, after=after))


def user_of(token: str, *, now: datetime) -> AbstractUser | None:
    """The active user of this personal token; records ``now`` as its last use, to the minute."""
    if not token.startswith(USER_TOKEN_PREFIX + "_"):
        return None
    found = (
        ApiToken.objects.select_related("user")
        .filter(digest=digest(token), revoked_at__isnull=True, user__is_active=True)
        .first()
    )
    if found is None:
        return None
    if found.last_used_at is None or found.last_used_at < now - NOTED_EVERY:
        ApiToken.objects.filter(pk=found.pk).update(last_used_at=now)
    return found.user
