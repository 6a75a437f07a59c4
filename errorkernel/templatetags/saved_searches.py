"""The menu of saved searches of a page."""

from collections.abc import Mapping
from typing import Any

from django import template

from errorkernel.store.accounts import saved_searches

register = template.Library()


@register.inclusion_tag("errorkernel/_saved_searches.html", takes_context=True)
def saved_views(context: Mapping[str, Any], page: str) -> dict[str, Any]:
    """The menu of saved searches of a page; outside of other forms, because it contains forms."""
    request, frame = context["request"], context["frame"]
    return {
        "page": page,
        "saved": saved_searches.listed(page, request.user),
        "address": request.GET.urlencode(),
        "may_share": frame.may_answer,
        "user": request.user,
        "csrf_token": context.get("csrf_token"),
    }
