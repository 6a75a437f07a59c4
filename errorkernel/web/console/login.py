"""The login page. It says which page follows, and names no account."""

from typing import Any

from django.contrib.auth.views import LoginView
from django.urls import Resolver404, ResolverMatch, get_script_prefix, resolve
from django.utils.translation import gettext as _


class Login(LoginView):
    """Django's login, with ``returns_to``: the name of the page that was asked for, or empty."""

    template_name = "errorkernel/login.html"
    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"returns_to": page_name(self.get_redirect_url())}


def page_name(address: str) -> str:
    """What a reader calls the page at ``address``, a path on this server; empty for the start page and unknown ones."""
    path = address.partition("?")[0].removeprefix(get_script_prefix().rstrip("/"))
    try:
        match = resolve(path)
    except Resolver404:
        return ""
    return _item_name(match) or _list_name(match.url_name)


def _item_name(match: ResolverMatch) -> str:
    names = {
        "incident": _("incident %(key)s"),
        "bulk-decision": _("bulk decision %(key)s"),
        "problem": _("problem %(key)s"),
        "event": _("event %(key)s"),
        "node": _("node %(key)s"),
        "rule": _("rule %(key)s"),
    }
    name = names.get(match.url_name or "")
    return name % {"key": next(iter(match.kwargs.values()))} if name else ""


def _list_name(name: str | None) -> str:
    names = {
        "approvals": _("Approvals"),
        "live": _("Live"),
        "problems": _("Problems"),
        "events": _("Events"),
        "nodes": _("Nodes"),
        "rules": _("Rules"),
        "dead-letters": _("Dead letters"),
        "quarantine": _("Rejected events"),
        "overview": _("Overview"),
        "audit": _("Audit trail"),
        "settings": _("Settings"),
    }
    return names.get(name or "", "")
