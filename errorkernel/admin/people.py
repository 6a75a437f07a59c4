"""People and groups: Django's own pages, with an audit entry for each change."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from errorkernel.admin.base import actor_of
from errorkernel.models import ApiToken
from errorkernel.store.accounts import api_tokens, people
from errorkernel.web.auth.password_hashing import hashed_before

_KINDS = {User: ("user", people.person), Group: ("group", people.group)}


def _revoke_tokens(owner: Model, request: HttpRequest) -> None:
    """A person's tokens are revoked before they go with the person, so that the audit trail has each."""
    for token in ApiToken.objects.filter(user_id=owner.pk, revoked_at__isnull=True):
        api_tokens.revoke(token, actor_of(request))


class Noted(admin.ModelAdmin):
    """Adds an audit entry to each change of people and groups, in the transaction of the change."""

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.was = self._state(obj)
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Groups and permissions are saved here, after the row."""
        super().save_related(request, form, formsets, change)
        self._note(request, form.instance.was, self._state(form.instance))

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._note(request, self._state(obj), {})
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for deleted in queryset:
                self._note(request, self._state(deleted), {})
            super().delete_queryset(request, queryset)

    def _state(self, row: Model) -> people.AccountState:
        return _KINDS[self.model][1](row.pk)

    def _note(self, request: HttpRequest, before: people.AccountState, after: people.AccountState) -> None:
        people.note(_KINDS[self.model][0], before, after, actor_of(request))


admin.site.unregister([User, Group])


@admin.register(Group)
class GroupOfPeopleAdmin(Noted, GroupAdmin):
    """Django's."""


@admin.register(User)
class PersonAdmin(Noted, UserAdmin):
    """Django's, except that only superusers can make superusers: otherwise a person who may edit people could promote
    himself."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[Any], Any]:
        """A person's tokens go with the person; nobody needs a permission to delete tokens, which nobody has."""
        listed, counts, needed, protected = super().get_deleted_objects(objs, request)
        return listed, counts, needed - {ApiToken._meta.verbose_name}, protected

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        _revoke_tokens(obj, request)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        with transaction.atomic():
            for person in queryset:
                _revoke_tokens(person, request)
            super().delete_queryset(request, queryset)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        with hashed_before(request.POST.get("password1", "")):
            return super().add_view(request, form_url, extra_context)

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        with hashed_before(request.POST.get("password1", "")), transaction.atomic():
            before = people.person(unquote(id))
            response = super().user_change_password(request, id, form_url)
            self._note(request, before, people.person(unquote(id)))
        return response

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or request.user.is_superuser or not obj.is_superuser)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, "is_superuser", "user_permissions"]


def own_password(request: HttpRequest) -> HttpResponse:
    """Django's page to change one's password, with an audit entry."""
    new, old = request.POST.get("new_password1", ""), request.POST.get("old_password", "")
    with hashed_before(new, request.user, old), transaction.atomic():
        before = people.person(request.user.pk)
        response = admin.site.password_change(request)
        people.note("user", before, people.person(request.user.pk), actor_of(request))
    return response
