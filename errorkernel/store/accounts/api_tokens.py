"""Operators' personal tokens: shown once, kept as digests."""

from datetime import datetime, timedelta
from typing import Any, cast

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser, AbstractUser
from django.db import transaction

from errorkernel.broker.credentials import digest, make_token
from errorkernel.models import ApiToken
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor
from errorkernel.store.platform.sql_values import moment

USER_TOKEN_PREFIX = "eku"  # noqa: S105 - a prefix
NOTED_EVERY = timedelta(minutes=1)

# As text: it stands before everything that a program does here, and Django builds it more slowly than it is answered.
_USER_OF = (
    "SELECT u.*, CASE WHEN t.last_used_at IS NULL OR t.last_used_at < %s THEN t.id END AS unnoted"
    f" FROM {get_user_model()._meta.db_table} u JOIN errorkernel_apitoken t ON t.user_id = u.id"
    " WHERE t.digest = %s AND t.revoked_at IS NULL AND u.is_active"
)


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
    """End a token's life; the row stays."""
    with transaction.atomic():
        if ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=actor.at):
            before, after = {"revoked_at": None}, {"revoked_at": actor.at.isoformat()}
            audit.record(audit.entry(actor, "revoke", f"token:{token.pk}", before=before, after=after))


def user_of(token: str, *, now: datetime) -> AbstractUser | None:
    """The active user that this personal token belongs to; ``now`` is noted as its last use, to the minute."""
    if not token.startswith(USER_TOKEN_PREFIX + "_"):
        return None
    found: Any = get_user_model().objects.raw(_USER_OF, [moment(now - NOTED_EVERY), digest(token)])
    for user in found:
        if user.unnoted is not None:
            ApiToken.objects.filter(pk=user.unnoted).update(last_used_at=now)
        return cast(AbstractUser, user)
    return None
