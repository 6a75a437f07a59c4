"""The actor of a request: a person, by a session or by a personal token."""

import hashlib

from django.contrib.auth.models import AbstractBaseUser, AbstractUser, AnonymousUser
from django.http import HttpRequest
from django.utils import timezone

from errorkernel.store.platform.actor import Actor


def actor_of(request: HttpRequest, *, user: AbstractBaseUser | None = None, token: str = "") -> Actor:
    """The user of a request to a page or the API as an actor. ``user``, ``token``: of a request with a personal
    token."""
    person = user or request.user
    assert not isinstance(person, AnonymousUser), "only people who are logged in change something"  # noqa: S101
    way = f"token {_digest(token)}" if token else f"session {_digest(request.session.session_key or '')}"
    return Actor.person(person, f"{request.META.get('REMOTE_ADDR', '?')} {way}", timezone.now())


def may(actor: Actor, permission: str) -> bool:
    return isinstance(actor.user, AbstractUser) and actor.user.has_perm(permission)


def _digest(secret: str) -> str:
    """Identifies a session or token without revealing it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:8]
