"""Django's admin: configuration is changed here, through the store; history is shown, never changed.

What nodes sent is hostile until shown otherwise: it is escaped as everything is, cut, and kept from turning the
writing direction of the page. Tables may hold millions of rows, so nothing here counts or sorts them all.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db import models, transaction
from django.db.models import Max, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from errorkernel.core.query import QueryError, parse
from errorkernel.models import (
    ApiToken,
    AuditEntry,
    DeadLetter,
    Decision,
    ErrorEvent,
    ErrorState,
    Incident,
    KernelHeartbeat,
    Node,
    Outbox,
    Problem,
    Process,
    QuarantinedMessage,
    Rule,
)
from errorkernel.query import to_q
from errorkernel.store import audit, fleet
from errorkernel.wire.subjects import is_node_name

admin.site.site_header = "Steward administration"
admin.site.site_title = "Steward administration"
admin.site.index_title = "Steward administration"
admin.site.site_url = "/"

EXCERPT_CHARS = 100
COUNT_MAX = 10_000
"""Lists count this far; "10,000" then means at least so many."""
SEARCH_EVENTS = 200_000

_SECRETS = """{% extends "admin/base_site.html" %}
{% block content %}
<p>{{ intro }}</p>
<dl>{% for name, value in secrets %}<dt>{{ name }}</dt><dd><code>{{ value }}</code></dd>{% endfor %}</dl>
<p>This is shown once: only what verifies it is kept. Copy it now.</p>
<p><a href="{{ back }}">I have copied it</a></p>
{% endblock %}"""


class BoundedPaginator(Paginator):
    """Counts no further than COUNT_MAX: counting a table of millions would take longer than showing its page."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        return rows.order_by()[:COUNT_MAX].count() if isinstance(rows, QuerySet) else len(rows)


def excerpt(field: str, name: str = "") -> Callable[[Any, models.Model], SafeString]:
    """A column with the beginning of a text that somebody else wrote, isolated from the writing around it."""

    @admin.display(description=name or field)
    def column(_: Any, row: models.Model) -> SafeString:
        text = str(getattr(row, field))
        return format_html("<bdi>{}</bdi>", text[:EXCERPT_CHARS] + "…" if len(text) > EXCERPT_CHARS else text)

    return column


def shown(data: bytes | memoryview) -> SafeString:
    """Bytes as text where they are text, else in hexadecimal with what can be read beside it."""
    data = bytes(data)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        lines = (data[at : at + 16] for at in range(0, len(data), 16))
        text = "\n".join(
            f"{line.hex(' '):<47}  {''.join(chr(one) if 32 <= one < 127 else '.' for one in line)}" for line in lines
        )
    return format_html("<pre><bdi>{}</bdi></pre>", text)


def _actor(request: HttpRequest) -> dict[str, Any]:
    """Who does it, as the store's functions take it."""
    return {
        "actor": f"user:{request.user.get_username()}",
        "user": request.user,
        "origin": f"{request.META.get('REMOTE_ADDR', '?')} admin",
        "now": timezone.now(),
    }


def _show_secrets(
    model: admin.ModelAdmin, request: HttpRequest, intro: str, secrets: list[tuple[str, str]]
) -> HttpResponse:
    """A page of its own, kept nowhere. A message after a redirect would travel through a cookie or the session."""
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


class Admin(admin.ModelAdmin):
    """Bounded in what it reads. ``console``: (URL name, field) of the console's page about a row."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    console: tuple[str, str] | None = None

    def get_view_on_site_url(self, obj: models.Model | None = None) -> str | None:
        if self.console is None or obj is None:
            return None
        name, field = self.console
        return reverse(name, args=[getattr(obj, field)])


class History(Admin):
    """Read only, for everybody: what happened is changed by nobody, also not by a superuser."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Node)
class NodeAdmin(Admin):
    """A node is added, renamed never, shut out instead of removed: its history hangs on it."""

    console = ("node", "name")
    list_display = ["name", "enabled", "version", "hello_at", "clock_skew_s", "backlog", "dropped", "events", "demo"]
    list_filter = ["enabled", "demo"]
    search_fields = ["name", "note"]
    search_help_text = "Part of a name or note."
    actions = ["let_in", "shut_out", "renew"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["name", "note"]
        return [one.name for one in Node._meta.fields if one.name not in ("id", "token_digest")]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [one for one in self.get_fields(request, obj) if obj is not None and one != "note"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return form if change else type("NodeForm", (NewNodeForm, form), {})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """The note alone is written: a whole row would put the counters back to what they were when the page opened."""
        if not change:
            note = obj.note
            obj.made = fleet.add_node(obj.name, **_actor(request))
            obj.pk = Node.objects.values_list("pk", flat=True).get(name=obj.name)
            obj.note = note
            if not note:
                return
        with transaction.atomic():
            before = Node.objects.values_list("note", flat=True).get(pk=obj.pk)
            obj.save(update_fields=["note"], force_update=True)
            who = _actor(request)
            audit.record(
                audit.entry(
                    who["actor"],
                    "note",
                    f"node:{obj.name}",
                    now=who["now"],
                    user=who["user"],
                    origin=who["origin"],
                    before={"note": before},
                    after={"note": obj.note},
                )
            )

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return self._show(request, obj.made)

    def _show(self, request: HttpRequest, made: fleet.NodeSecrets) -> HttpResponse:
        secrets = [("node", made.node), ("nkey_seed (for NATS)", made.nkey_seed), ("token (for HTTP)", made.token)]
        return _show_secrets(self, request, f"The credentials of node {made.node}.", secrets)

    @admin.action(description="Let the selected nodes in", permissions=["change"])
    def let_in(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._set_enabled(request, nodes, True)

    @admin.action(description="Shut the selected nodes out", permissions=["change"])
    def shut_out(self, request: HttpRequest, nodes: QuerySet[Node]) -> None:
        self._set_enabled(request, nodes, False)

    def _set_enabled(self, request: HttpRequest, nodes: QuerySet[Node], enabled: bool) -> None:
        names = list(nodes.values_list("name", flat=True))
        for name in names:
            fleet.set_node_enabled(name, enabled, **_actor(request))
        done = "Let in" if enabled else "Shut out"
        self.message_user(request, f"{done}: {', '.join(names)}.", messages.SUCCESS)

    @admin.action(description="New credentials for the selected node", permissions=["change"])
    def renew(self, request: HttpRequest, nodes: QuerySet[Node]) -> HttpResponse | None:
        names = list(nodes.values_list("name", flat=True)[:2])
        if len(names) != 1:
            self.message_user(request, "New credentials are made for one node at a time.", messages.ERROR)
            return None
        return self._show(request, fleet.renew_node(names[0], **_actor(request)))


class NewNodeForm(ModelForm):
    """Names that the broker could not address are refused before anything is made."""

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not is_node_name(name):
            self.add_error("name", "1 to 64 letters, digits, _ or -.")
        return name


@admin.register(ApiToken)
class ApiTokenAdmin(Admin):
    """Shown once when made; revoked, never removed. Only a superuser makes tokens for others: a token is a login."""

    list_display = ["id", "user", "note", "created_at", "last_used_at", "revoked_at"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter)]
    list_select_related = ["user"]
    search_fields = ["user__username", "note"]
    raw_id_fields = ["user"]
    actions = ["revoke"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            return ["user", "note"] if request.user.is_superuser else ["note"]
        return ["user", "note", "created_at", "last_used_at", "revoked_at"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The list needs it for its action; a single token has nothing to change.
        return obj is None and super().has_change_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user__is_superuser=False)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        owner: Any = obj.user if request.user.is_superuser else request.user
        obj.user = owner
        obj.made = fleet.add_api_token(owner, note=obj.note, **_actor(request))

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """The audit trail has it; the admin's own log would want the row's id, which the store keeps to itself."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        return _show_secrets(self, request, f"A personal API token of {obj.user}.", [("token", obj.made)])

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        for token in tokens:
            fleet.revoke_api_token(token, **_actor(request))
        self.message_user(request, "Revoked.", messages.SUCCESS)


@admin.register(QuarantinedMessage)
class QuarantinedMessageAdmin(History):
    """What was refused, and why. An administrator may throw it away, which is noted."""

    list_display = ["id", "received_at", "reason", "node", "short_subject", "size", "short_detail"]
    list_filter = ["reason"]
    search_fields = ["=node", "=reason", "subject"]
    search_help_text = "A node or reason as it is, or part of a subject."
    fields = ("received_at", "reason", "detail", "node", "subject", "source", "size", "content")
    readonly_fields = fields
    short_subject = excerpt("subject")
    short_detail = excerpt("detail")

    def get_queryset(self, request: HttpRequest) -> QuerySet[QuarantinedMessage]:
        match = request.resolver_match
        rows = super().get_queryset(request)
        return rows.defer("head") if match and str(match.url_name).endswith("_changelist") else rows

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description="its first 4 KiB")
    def content(self, row: QuarantinedMessage) -> SafeString:
        return shown(row.head)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._note(request, [obj.pk])
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._note(request, list(queryset.values_list("pk", flat=True)))
        super().delete_queryset(request, queryset)

    def _note(self, request: HttpRequest, pks: list[int]) -> None:
        who = _actor(request)
        now: datetime = who.pop("now")
        actor: str = who.pop("actor")
        audit.record(*(audit.entry(actor, "delete", f"quarantined:{pk}", now=now, **who) for pk in pks))


@admin.register(ErrorEvent)
class ErrorEventAdmin(History):
    console = ("event", "seq")
    list_display = ["seq", "received_at", "type", "level", "node", "process_name", "kind", "short_text", "repeat"]
    list_filter = ["type", "level"]
    sortable_by = ["seq"]  # the other columns have no index that could sort a million rows
    search_fields = ["text"]  # its presence shows the search box; the search itself is below
    search_help_text = "As on the live page: node:ship* level>=error text:… In the newest 200,000 events."
    short_text = excerpt("text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErrorEvent]:
        return super().get_queryset(request).select_related("node", "process__node", "problem")

    @admin.display(description="process")
    def process_name(self, row: ErrorEvent) -> str:
        return row.process.name

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """The product's own query language, over a bounded number of events."""
        if not search_term.strip():
            return queryset, False
        try:
            wanted = to_q(parse(search_term), timezone.now())
        except QueryError as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return queryset.none(), False
        newest = ErrorEvent.objects.aggregate(newest=Max("seq"))["newest"] or 0
        return queryset.filter(wanted, seq__gt=newest - SEARCH_EVENTS), False


@admin.register(Incident)
class IncidentAdmin(History):
    console = ("incident", "id")
    list_display = ["short_text", "node", "process_name", "state", "level", "opened_at", "deadline_at", "ended_at"]
    list_filter = ["state", "level", "on_deadline"]
    search_fields = ["id__exact", "=node__name", "=process__name", "text"]
    search_help_text = "An id, node or process as it is, or part of the text."
    date_hierarchy = "opened_at"
    short_text = excerpt("text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        return super().get_queryset(request).select_related("node", "process__node", "problem")

    @admin.display(description="process")
    def process_name(self, row: Incident) -> str:
        return row.process.name


@admin.register(Decision)
class DecisionAdmin(History):
    console = ("incident", "incident_id")
    list_display = ["decided_at", "action", "by", "short_incident", "short_reason", "sent_at"]
    list_filter = ["action"]
    search_fields = ["incident__id__exact", "by", "reason"]
    date_hierarchy = "decided_at"
    short_reason = excerpt("reason")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Decision]:
        return super().get_queryset(request).select_related("incident__process__node", "user")

    @admin.display(description="incident")
    def short_incident(self, row: Decision) -> SafeString:
        return format_html("<bdi>{}</bdi>", str(row.incident)[:EXCERPT_CHARS])


@admin.register(Rule)
class RuleAdmin(History):
    """To look at; a rule is written on its own page, which can try it first."""

    console = ("rule", "pk")
    list_display = ["id", "position", "name", "action", "enabled", "suspended_at", "uses", "expires_at", "revision"]
    list_filter = ["enabled", "action", ("removed_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "condition", "author"]
    ordering = ["position", "id"]


@admin.register(DeadLetter)
class DeadLetterAdmin(History):
    list_display = ["id", "process", "short_problem", "failures", "state", "first_at", "last_at"]
    list_filter = ["state"]
    list_select_related = ["process__node", "problem"]
    search_fields = ["=process__name", "=process__node__name"]
    raw_id_fields = ["incident"]
    short_problem = excerpt("problem")


@admin.register(Process)
class ProcessAdmin(History):
    list_display = ["name", "node", "incarnation", "state", "pid", "last_seen", "events", "failures"]
    list_select_related = ["node"]
    search_fields = ["name", "=node__name"]


@admin.register(Problem)
class ProblemAdmin(History):
    console = ("problem", "pk")
    list_display = ["short_title", "kind", "level", "count", "nodes", "first_seen", "last_seen"]
    list_filter = ["level"]
    search_fields = ["=fingerprint", "kind", "title"]
    short_title = excerpt("title")


@admin.register(ErrorState)
class ErrorStateAdmin(History):
    list_display = ["process", "short_problem", "count", "consecutive", "first_seen", "last_seen"]
    list_select_related = ["process__node", "problem"]
    search_fields = ["=process__name", "=process__node__name", "=problem__fingerprint"]
    ordering = ["-id"]
    short_problem = excerpt("problem")


@admin.register(AuditEntry)
class AuditEntryAdmin(History):
    list_display = ["at", "actor", "action", "short_target", "short_reason", "origin"]
    sortable_by = ["at"]
    search_fields = ["target__exact", "actor__exact", "action__exact"]
    search_help_text = "A target (incident:<id>, node:<name>), actor (user:<name>) or action as it is."
    short_target = excerpt("target")
    short_reason = excerpt("reason")


@admin.register(Outbox)
class OutboxAdmin(History):
    list_display = ["id", "subject", "created_at", "attempts", "next_try_at"]
    fields = ("subject", "msg_id", "created_at", "attempts", "next_try_at", "content")
    readonly_fields = fields

    @admin.display(description="payload")
    def content(self, row: Outbox) -> SafeString:
        return shown(row.payload)


@admin.register(KernelHeartbeat)
class KernelHeartbeatAdmin(History):
    list_display = ["worker", "at", "started_at", "broker_connected", "lag"]
    ordering = ["-at"]


admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Django's, except that nobody makes a superuser who is none: whoever may edit people could make himself one."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        allowed = super().has_change_permission(request, obj)
        return allowed and (obj is None or request.user.is_superuser or not obj.is_superuser)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else [*fields, "is_superuser", "user_permissions"]
