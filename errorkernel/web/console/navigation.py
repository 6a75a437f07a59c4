"""The navigation of the console: five groups of pages, and the key that leads to each."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.urls import reverse
from django.utils.translation import gettext as _

from errorkernel.web.auth.permissions import AUDIT, SEE_REFUSED, SEE_SETTINGS


@dataclass(frozen=True, slots=True)
class NavigationPage:
    """A link to a page. ``section``: what the views of the page and of those below it put into their context. ``key``:
    after ``g`` it leads there; empty: none. ``in_bar``: in the bar of a phone."""

    section: str
    title: str
    address: str
    key: str = ""
    in_bar: bool = False


@dataclass(frozen=True, slots=True)
class NavigationGroup:
    """Pages under a heading; ``name`` is an identifier."""

    name: str
    title: str
    pages: list[NavigationPage]


def groups(user: AbstractUser | AnonymousUser) -> list[NavigationGroup]:
    """The groups with the pages that ``user`` may open, in the active language."""
    return [
        NavigationGroup("respond", _("Respond"), list(_respond())),
        NavigationGroup("investigate", _("Investigate"), list(_investigate())),
        NavigationGroup("automate", _("Automate"), list(_automate(user))),
        NavigationGroup("report", _("Report"), list(_report(user))),
        NavigationGroup("administration", _("Administration"), list(_administration(user))),
    ]


def _respond() -> Iterator[NavigationPage]:
    yield NavigationPage("triage", _("Triage"), reverse("triage"), "t", in_bar=True)
    yield NavigationPage("approvals", _("Approvals"), reverse("approvals"), "a", in_bar=True)
    yield NavigationPage("live", _("Live"), reverse("live"), "l")


def _investigate() -> Iterator[NavigationPage]:
    yield NavigationPage("problems", _("Problems"), reverse("problems"), "p", in_bar=True)
    yield NavigationPage("events", _("Events"), reverse("events"), "e")
    yield NavigationPage("nodes", _("Nodes"), reverse("nodes"), "n")


def _automate(user: AbstractUser | AnonymousUser) -> Iterator[NavigationPage]:
    yield NavigationPage("rules", _("Rules"), reverse("rules"), "r")
    yield NavigationPage("dead-letters", _("Dead letters"), reverse("dead-letters"), "d")
    if user.has_perm(SEE_REFUSED):
        yield NavigationPage("quarantine", _("Rejected events"), reverse("quarantine"), "x")


def _report(user: AbstractUser | AnonymousUser) -> Iterator[NavigationPage]:
    yield NavigationPage("overview", _("Overview"), reverse("overview"), "o")
    if user.has_perm(AUDIT):
        yield NavigationPage("audit", _("Audit trail"), reverse("audit"), "u")


def _administration(user: AbstractUser | AnonymousUser) -> Iterator[NavigationPage]:
    if user.has_perm(SEE_SETTINGS):
        yield NavigationPage("settings", _("Settings"), reverse("settings"), "s")
    yield NavigationPage("api", _("HTTP API"), reverse("api-docs"), "h")
    if getattr(user, "is_staff", False):
        yield NavigationPage("admin", _("Admin"), reverse("admin:index"))
