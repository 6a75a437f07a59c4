"""Records changes of accounts, groups and permissions in the audit trail.

Django changes accounts itself, in its admin and its commands. The caller reads the account or group before and after
(``person``, ``group``), in one transaction with the change, and records the difference.
"""

from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.hashers import is_password_usable
from django.contrib.auth.models import Group, Permission, User
from django.db import transaction
from django.db.models import QuerySet

from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

AccountState = dict[str, Any]


def person(pk: Any) -> AccountState:
    """A person as stored now; empty for one that is not there. The password's hash is in it, and in no entry."""
    found = User.objects.filter(pk=pk).first()
    if found is None:
        return {}
    return {
        "name": found.get_username(),
        "active": found.is_active,
        "staff": found.is_staff,
        "superuser": found.is_superuser,
        "groups": sorted(found.groups.values_list("name", flat=True)),
        "permissions": _codes(found.user_permissions.all()),
        "password": found.password,
    }


def group(pk: Any) -> AccountState:
    """A group as stored now; empty for one that is not there."""
    found = Group.objects.filter(pk=pk).first()
    return {"name": found.name, "permissions": _codes(found.permissions.all())} if found else {}


def note(kind: str, before: AccountState, after: AccountState, actor: Actor) -> None:
    """One entry for what differs, or none. ``kind``: user or group."""
    changed = [name for name in after or before if after.get(name) != before.get(name)]
    if not changed:
        return
    verb = "change" if before and after else "add" if after else "delete"
    audit.record(
        audit.entry(
            actor, verb, f"{kind}:{(before or after)['name']}", before=_shown(before, changed, "(hidden)"),
            after=_shown(after, changed, "(another, hidden)" if before else "(hidden)"),
        )
    )  # fmt: skip


def _shown(standing: AccountState, names: list[str], password: str) -> AccountState:
    """The values in an audit entry; ``password``: stands in for the hash."""
    shown = {name: standing[name] for name in names if name in standing}
    if "password" in shown:
        shown["password"] = password if is_password_usable(shown["password"]) else "none"
    return shown


def _codes(permissions: QuerySet[Permission]) -> list[str]:
    return sorted(".".join(parts) for parts in permissions.values_list("content_type__app_label", "codename"))


def add_administrator(name: str, hashed_password: str, *, origin: str) -> None:
    """A new superuser whose password is hashed already, on the audit trail as an act of the product."""
    with transaction.atomic():
        made = User.objects.create_superuser(name)
        made.password = hashed_password
        made.save(update_fields=["password"])
        note("user", {}, person(made.pk), actor=Actor.system(datetime.now(UTC), origin=origin))
