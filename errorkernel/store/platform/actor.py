"""The actor of a change, as every function of the store takes it."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser


@dataclass(frozen=True, slots=True)
class Actor:
    """``id``: ``user:alice``, ``rule:12``, ``node:ship1``, ``deadline`` or ``system``. ``at``: when it acts.

    ``user``: the account of a person. ``origin``: where the request came from, for the audit trail.
    """

    id: str
    at: datetime
    user: AbstractBaseUser | None = None
    origin: str = ""

    @classmethod
    def system(cls, at: datetime, origin: str = "") -> "Actor":
        """The product itself: the kernel, or a command."""
        return cls("system", at, origin=origin)

    @classmethod
    def node(cls, name: str, at: datetime) -> "Actor":
        return cls(f"node:{name}", at)

    @classmethod
    def person(cls, user: AbstractBaseUser, origin: str, at: datetime) -> "Actor":
        return cls(f"user:{user.get_username()}", at, user, origin)

    @property
    def user_id(self) -> int | None:
        """The key of ``user``, for columns."""
        return self.user.pk if self.user else None
