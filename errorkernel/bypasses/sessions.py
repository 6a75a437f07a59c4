"""Who is signed in and what they may do: Django's own session and backend, with statements that are not built anew.

To build these queries for each request takes Django longer than the database to answer them, longer than all else that
happens before a view; and a process may be waiting for the answer that the view records.

Source: https://docs.djangoproject.com/en/5.2/topics/auth/customizing/#writing-an-authentication-backend
"""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

from errorkernel.bypasses.sql_values import moment

_SESSION = f"SELECT session_data FROM {Session._meta.db_table} WHERE session_key = %s AND expire_date > %s"
_USER = f"SELECT * FROM {User._meta.db_table} WHERE id = %s"
_PERMISSIONS = (
    f"SELECT c.app_label, p.codename FROM {Permission._meta.db_table} p"
    f" JOIN {ContentType._meta.db_table} c ON c.id = p.content_type_id WHERE p.id IN ("
    f"SELECT permission_id FROM {User.user_permissions.through._meta.db_table} WHERE user_id = %s UNION"
    f" SELECT g.permission_id FROM {Group.permissions.through._meta.db_table} g"
    f" JOIN {User.groups.through._meta.db_table} u ON u.group_id = g.group_id WHERE u.user_id = %s)"
)


class SessionStore(db.SessionStore):
    """Sessions in the database, in Django's own table."""

    def load(self) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(_SESSION, [self.session_key, moment(timezone.now())])
            row = cursor.fetchone()
        if row is None:
            self._session_key = None
            return {}
        return self.decode(row[0])


class Backend(ModelBackend):
    """People, groups and permissions of Django's own tables."""

    def get_user(self, user_id: int) -> User | None:
        for user in User.objects.raw(_USER, [user_id]):
            return user if self.user_can_authenticate(user) else None
        return None

    def get_all_permissions(self, user_obj: User | AnonymousUser, obj: Any = None) -> set[str]:
        if isinstance(user_obj, AnonymousUser) or user_obj.is_superuser or not user_obj.is_active or obj is not None:
            return super().get_all_permissions(user_obj, obj)
        known: set[str] | None = user_obj.__dict__.get("_perm_cache")  # where Django's backend keeps it too
        if known is None:
            with connection.cursor() as cursor:
                cursor.execute(_PERMISSIONS, [user_obj.pk, user_obj.pk])
                known = user_obj.__dict__["_perm_cache"] = {f"{app}.{code}" for app, code in cursor.fetchall()}
        return known
