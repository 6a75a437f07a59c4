"""The menu of saved searches: a form each, so that it works without script."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from errorkernel.models import SavedSearch
from errorkernel.platform.parameters import LARGEST
from errorkernel.store.accounts import saved_searches as store
from errorkernel.store.accounts.saved_searches import PAGES, ViewError
from errorkernel.templatetags.sentences import said
from errorkernel.web.auth.actor import actor_of
from errorkernel.web.auth.permissions import ANSWER, VIEW, needs
from errorkernel.web.console.refusal import refuse


@require_POST
@needs(VIEW)
def save(request: HttpRequest, page: str) -> HttpResponse:
    """Keep the search that the page shows: one's own; ``shared``, for everybody, by those who may answer."""
    if page not in PAGES:
        raise Http404
    shared = request.POST.get("shared") == "on"
    if shared and not request.user.has_perm(ANSWER):
        return refuse(request, _("Sharing a view needs the permission to answer."), status=403)
    given = request.POST
    try:
        view = store.keep(page, given.get("name", ""), given.get("address", ""), actor_of(request), shared=shared)
    except ViewError as exc:
        return refuse(request, said(exc))
    messages.success(request, _("The view “%(name)s” is kept.") % {"name": view.name})
    return HttpResponseRedirect(f"{reverse(page)}?{view.query_string}")


@require_POST
@needs(VIEW)
def delete(request: HttpRequest, view_id: int) -> HttpResponse:
    """Forget one: one's own; staff also what others share."""
    try:
        staff = bool(getattr(request.user, "is_staff", False))
        view = store.delete(min(view_id, LARGEST), actor_of(request), staff=staff)
    except SavedSearch.DoesNotExist:
        raise Http404 from None
    messages.success(request, _("The view “%(name)s” is gone.") % {"name": view.name})
    return HttpResponseRedirect(f"{reverse(view.page)}?{view.query_string}")
