"""The only place where saved searches are written. Changes of shared ones are recorded in the audit trail."""

from urllib.parse import parse_qsl, urlencode

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models import Q, QuerySet

from errorkernel.domain.messages import TranslatableText as _
from errorkernel.models import SavedSearch
from errorkernel.store.platform import audit
from errorkernel.store.platform.actor import Actor

_TIMES = ("range", "since", "until")
PAGES = {"live": ("q", *_TIMES), "events": ("q", *_TIMES), "problems": ("q", "sort")}
"""Page → the parameters that a saved search stores."""
NAME_MAX_CHARS = 60
OWN_MAX = 50
SHARED_MAX = 200


class SavedSearchError(ValueError):
    """It cannot be saved; the message is one sentence for the person."""


def listed(page: str, user: AbstractBaseUser) -> QuerySet[SavedSearch]:
    """The shared saved searches of a page and the person's own."""
    return SavedSearch.objects.filter(Q(shared=True) | Q(owner=user.pk), page=page).select_related("owner")


def keep(page: str, name: str, address: str, actor: Actor, *, shared: bool) -> SavedSearch:
    """Save ``address``, the page's parameters, under a name. The person's own saved search of that name is replaced.
    Raises SavedSearchError."""
    owner = _owner(actor)
    name = " ".join(name.split())
    if not name or len(name) > NAME_MAX_CHARS or "\0" in name + address:
        raise SavedSearchError(_("A saved search needs a name of at most {most} characters.", most=NAME_MAX_CHARS))
    kept = urlencode([(key, value) for key, value in parse_qsl(address.lstrip("?")) if key in PAGES[page] and value])
    if len(kept) > 2000:
        raise SavedSearchError(_("This search is too long to be saved."))
    with transaction.atomic():
        same = SavedSearch.objects.select_for_update().filter(page=page, name=name, shared=shared)
        found = (same if shared else same.filter(owner=owner)).first()
        if found and found.owner_id != owner:
            raise SavedSearchError(_("Somebody else already shares a saved search named “{name}”.", name=name))
        whose = (
            SavedSearch.objects.filter(shared=True) if shared else SavedSearch.objects.filter(owner=owner, shared=False)
        )
        most = SHARED_MAX if shared else OWN_MAX
        if found is None and whose.count() >= most:
            raise SavedSearchError(
                _("There are already {most} saved searches, the maximum. Delete one first.", most=most)
            )
        view = found or SavedSearch(page=page, name=name, owner_id=owner, shared=shared, created_at=actor.at)
        before = {"query_string": view.query_string} if found else {}
        view.query_string = kept
        view.save()
        if shared:
            _note("share", view, before, {"page": page, "name": name, "query_string": kept}, actor)
    return view


def delete(view_id: int, actor: Actor, *, staff: bool) -> SavedSearch:
    """Delete one's own saved search; staff may also delete shared ones. Raises SavedSearch.DoesNotExist otherwise."""
    with transaction.atomic():
        may = Q(owner=_owner(actor)) | Q(shared=True) if staff else Q(owner=_owner(actor))
        view = SavedSearch.objects.select_for_update().filter(may).get(pk=view_id)
        if view.shared:
            _note("unshare", view, {"page": view.page, "name": view.name, "query_string": view.query_string}, {}, actor)
        SavedSearch.objects.filter(pk=view.pk).delete()
    return view


def _owner(actor: Actor) -> int:
    if actor.user_id is None:
        raise SavedSearchError(_("A saved search needs an owner."))
    return actor.user_id


def _note(act: str, view: SavedSearch, before: dict[str, str], after: dict[str, str], actor: Actor) -> None:
    audit.record(audit.entry(action=act, target=f"saved_search:{view.pk}", before=before, after=after, actor=actor))
