"""Credentials of nodes and people, changed through the store. Secrets are shown once, on a page that is not stored."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.template.response import TemplateResponse
from django.urls import reverse

from errorkernel.admin.base import Admin, actor_of, moment
from errorkernel.admin.lists import TimeFilter
from errorkernel.models import ApiToken, Node
from errorkernel.protocol.subjects import is_node_name
from errorkernel.store import nodes
from errorkernel.store.accounts import api_tokens
from errorkernel.store.platform import audit

_SECRETS = """{% extends "admin/base_site.html" %}
{% block content %}
<p>{{ intro }}</p>
<dl>{% for name, value in secrets %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>{% endfor %}</dl>
<p>This is shown once: only what verifies it is kept. Copy it now.</p>
<p><a href="{{ back }}">I have copied it</a></p>
{% endblock %}"""


def _show_secrets(
    model: admin.ModelAdmin, request: HttpRequest, intro: str, secrets: list[tuple[str, str]]
) -> HttpResponse:
    """A page of its own, because a message after a redirect would be stored in a cookie or the session."""
    back = reverse(f"admin:errorkernel_{model.opts.model_name}_changelist")
    context = {
        **model.admin_site.each_context(request),
        "title": "Copy this now",
        "intro": intro,
        "secrets": secrets,
        "back": back,
    }
    response = HttpResponse(Template(_SECRETS).render(RequestContext(request, context)))
    response["Cache-Control"] = "no-store"
    return response


def _is_confirmed(request: HttpRequest) -> bool:
    return request.POST.get("confirmed") == "yes"


def _confirm(
    model: admin.ModelAdmin, request: HttpRequest, selected: QuerySet[Any], action: str, button: str, text: str
) -> HttpResponse:
    """A page that says what an action does to which rows, before it does it."""
    context = {
        **model.admin_site.each_context(request),
        "title": f"{button}?",
        "text": text,
        "rows": selected,
        "action": action,
        "button": button,
        "back": reverse(f"admin:errorkernel_{model.opts.model_name}_changelist"),
    }
    return TemplateResponse(request, "admin/errorkernel/confirm.html", context)


@admin.register(Node)
class NodeAdmin(Admin):
    """Nodes are added and disabled, never renamed or removed, because their history refers to them."""

    console = ("node", "name")
    list_display = ["name", "enabled", "demo", "last_heartbeat", "clock", "backlog", "dropped", "events", "version"]
    list_filter = ["enabled", "demo", ("heartbeat_at", TimeFilter)]
    search_fields = ["name", "note"]
    search_help_text = "Part of a name or note."
    actions = ["let_in", "shut_out", "renew"]

    last_heartbeat = moment("heartbeat_at", "last heartbeat (UTC)", "heartbeat_at")

    @admin.display(description="clock ahead (s)", ordering="clock_skew_s")
    def clock(self, row: Node) -> str:
        return "-" if row.clock_skew_s is None else f"{row.clock_skew_s:+.1f}"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["name", "note"]
        return [field.name for field in Node._meta.fields if field.name not in ("id", "token_digest")]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [name for name in self.get_fields(request, obj) if obj is not None and name != "note"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return form if change else type("NodeForm", (NewNodeForm, form), {})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Saves the note alone: saving the row would reset the counters to their values when the page was opened."""
        if not change:
            note = obj.note
            obj.made = nodes.add_node(obj.name, actor_of(request))
            obj.pk = Node.objects.values_list("pk", flat=True).get(name=obj.name)
            obj.note = note
            if not note:
                return
        with transaction.atomic():
            before = Node.objects.values_list("note", flat=True).get(pk=obj.pk)
            obj.save(update_fields=["note"], force_update=True)
            target, after = f"node:{obj.name}", {"note": obj.note}
            audit.record(audit.entry(actor_of(request), "note", target, before={"note": before}, after=after))

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, obj.made)

    def _show(self, request: HttpRequest, made: nodes.NodeSecrets) -> HttpResponse:
        secrets = [("node", made.node), ("nkey_seed (for NATS)", made.nkey_seed), ("token (for HTTP)", made.token)]
        return _show_secrets(self, request, f"The credentials of node {made.node}.", secrets)

    @admin.action(description="Let the selected nodes in", permissions=["change"])
    def let_in(self, request: HttpRequest, selected: QuerySet[Node]) -> None:
        self._set_enabled(request, selected, True)

    @admin.action(description="Shut the selected nodes out", permissions=["change"])
    def shut_out(self, request: HttpRequest, selected: QuerySet[Node]) -> HttpResponse | None:
        if not _is_confirmed(request):
            text = (
                "The broker and the HTTP API refuse these nodes within 2 seconds. Their pending incidents stay pending,"
                " and their processes stay blocked until you let the nodes in again."
            )
            return _confirm(self, request, selected, "shut_out", "Shut nodes out", text)
        self._set_enabled(request, selected, False)
        return None

    def _set_enabled(self, request: HttpRequest, selected: QuerySet[Node], enabled: bool) -> None:
        names = list(selected.values_list("name", flat=True))
        for name in names:
            nodes.set_node_enabled(name, enabled, actor_of(request))
        done = "Let in" if enabled else "Shut out"
        self.message_user(request, f"{done}: {', '.join(names)}.", messages.SUCCESS)

    @admin.action(description="New credentials for the selected node", permissions=["change"])
    def renew(self, request: HttpRequest, selected: QuerySet[Node]) -> HttpResponse | None:
        names = list(selected.values_list("name", flat=True)[:2])
        if len(names) != 1:
            self.message_user(request, "New credentials are made for one node at a time.", messages.ERROR)
            return None
        if not _is_confirmed(request):
            text = (
                "The present credentials stop working at once. The node is refused until it has the new ones, which are"
                " shown once."
            )
            return _confirm(self, request, selected, "renew", "Create new credentials", text)
        return self._show(request, nodes.renew_node(names[0], actor_of(request)))


class NewNodeForm(ModelForm):
    """Refuses names that the broker cannot address."""

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not is_node_name(name):
            self.add_error("name", "1 to 64 letters, digits, _ or -.")
        return name


@admin.register(ApiToken)
class ApiTokenAdmin(Admin):
    """Tokens are shown once and revoked, never removed. Only a superuser makes tokens for others, because a token is a
    login."""

    list_display = ["id", "user", "note", "created", "last_used", "revoked"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter), ("created_at", TimeFilter)]
    list_select_related = ["user"]
    search_fields = ["user__username", "note"]
    actions = ["revoke"]

    created = moment("created_at", "created (UTC)", "created_at")
    last_used = moment("last_used_at", "last used (UTC)", "last_used_at")
    revoked = moment("revoked_at", "revoked (UTC)", "revoked_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["user", "note"] if request.user.is_superuser else ["note"]
        return ["user", "note", "created_at", "last_used_at", "revoked_at"]

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The owner is chosen from a list of active users."""
        if db_field.name == "user":
            kwargs["queryset"] = get_user_model().objects.filter(is_active=True).order_by("username")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Needed for the action of the list; a token itself cannot be changed.
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user__is_superuser=False)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        owner: Any = obj.user if request.user.is_superuser else request.user
        obj.user = owner
        obj.made = api_tokens.add(owner, actor_of(request), note=obj.note)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit trail records it; the admin's own log needs the row's id, which the store does not return."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return _show_secrets(self, request, f"A personal API token of {obj.user}.", [("token", obj.made)])

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> HttpResponse | None:
        if not _is_confirmed(request):
            text = "Programs that use these tokens are refused from now on. A revoked token cannot be restored."
            return _confirm(self, request, tokens, "revoke", "Revoke tokens", text)
        for token in tokens:
            api_tokens.revoke(token, actor_of(request))
        self.message_user(request, "Revoked.", messages.SUCCESS)
        return None
