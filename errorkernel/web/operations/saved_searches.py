"""Operations on saved searches, on pages only."""

from typing import Any

import msgspec
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from errorkernel.models import SavedSearch
from errorkernel.store.accounts import saved_searches
from errorkernel.store.accounts.saved_searches import PAGES, SavedSearchError
from errorkernel.store.platform.actor import Actor
from errorkernel.web.auth.actor import may
from errorkernel.web.auth.permissions import DECIDE, VIEW
from errorkernel.web.operations.operation import Done, Form, Operation, Refusal, Resource
from errorkernel.web.schemas.operations import SearchToSave


class CannotShare(SavedSearchError):
    """The user lacks the permission for shared searches."""


def _save(key: None, given: SearchToSave, actor: Actor) -> SavedSearch:
    if given.page not in PAGES:
        raise SavedSearch.DoesNotExist
    if given.shared and not may(actor, DECIDE):
        raise CannotShare(_("To share a saved search you need the permission to decide."))
    return saved_searches.keep(given.page, given.name, given.address, actor, shared=given.shared)


def _delete(key: int, given: None, actor: Actor) -> SavedSearch:
    return saved_searches.delete(key, actor, staff=bool(getattr(actor.user, "is_staff", False)))


def _show_page(done: Done) -> HttpResponse:
    """The page of the search, with the search."""
    return HttpResponseRedirect(f"{reverse(done.result.page)}?{done.result.query_string}")


def _kept(done: Done) -> str:
    return _("The search is saved as “%(name)s”.") % {"name": done.result.name}


def _gone(done: Done) -> str:
    return _("The saved search “%(name)s” is deleted.") % {"name": done.result.name}


_SEARCH = Resource(
    address="saved-searches",
    noun="saved search",
    page="live",
    has_item_page=False,
    item=msgspec.Struct,
    encode=lambda row: msgspec.Struct(),
    missing=SavedSearch.DoesNotExist,
    refusals=(
        Refusal(error=CannotShare, codes=("forbidden",)),
        Refusal(error=SavedSearchError, codes=("invalid_field",)),
    ),
)
OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        name="saveSearch",
        summary="Keep the search that a page shows",
        resource=_SEARCH,
        has_key=False,
        verb="save",
        audit_verb="share",
        permission=VIEW,
        request=SearchToSave,
        handler=_save,
        form=Form(message=_kept, after=_show_page),
        is_in_api=False,
    ),
    Operation(
        name="deleteSearch",
        summary="Delete a saved search: one's own; staff also what others share",
        resource=_SEARCH,
        verb="delete",
        audit_verb="unshare",
        permission=VIEW,
        handler=_delete,
        form=Form(message=_gone, after=_show_page),
        is_in_api=False,
    ),
)
