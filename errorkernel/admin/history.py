"""Read-only pages of events, incidents and all other history."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Max, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from errorkernel.admin.base import History, actor_of, cut, excerpt, shown
from errorkernel.domain.query.parse import QueryError, parse
from errorkernel.models import (
    AccessDenial,
    AuditEntry,
    Comment,
    DeadLetter,
    Decision,
    ErrorEvent,
    ErrorState,
    Incarnation,
    Incident,
    KernelHeartbeat,
    Outbox,
    Problem,
    Process,
    ProcessAction,
    ProcessActionRequest,
    RejectedEvent,
    Requeue,
    Rule,
)
from errorkernel.store.platform import audit
from errorkernel.store.search import to_q

SEARCH_EVENTS = 200_000


@admin.register(RejectedEvent)
class RejectedEventAdmin(History):
    """Rejected events. An administrator may delete them, which the audit trail records."""

    list_display = ["id", "received_at", "reason", "size", "node", "short_subject", "short_detail"]
    list_filter = ["reason"]
    search_fields = ["=node", "=reason", "subject"]
    search_help_text = "A node or reason as it is, or part of a subject."
    fields = ("received_at", "reason", "detail", "node", "subject", "source", "size", "content")
    readonly_fields = fields
    short_subject = excerpt("subject")
    short_detail = excerpt("detail")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RejectedEvent]:
        match = request.resolver_match
        rows = super().get_queryset(request)
        return rows.defer("head") if match and str(match.url_name).endswith("_changelist") else rows

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_delete_permission(self, request, obj)

    @admin.display(description="its first 4 KiB")
    def content(self, row: RejectedEvent) -> SafeString:
        return shown(row.head)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._note(request, RejectedEvent.objects.filter(pk=obj.pk))
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._note(request, queryset)
        super().delete_queryset(request, queryset)

    def _note(self, request: HttpRequest, rows: QuerySet[RejectedEvent]) -> None:
        actor = actor_of(request)
        gone = rows.order_by("pk").values("source", "node", "subject", "reason", "detail", "size")
        targets = [f"quarantined:{pk}" for pk in rows.order_by("pk").values_list("pk", flat=True)]
        audit.record(
            *(
                audit.entry(actor, "delete", target, before=row, after={})
                for target, row in zip(targets, gone, strict=True)
            )
        )


@admin.register(ErrorEvent)
class ErrorEventAdmin(History):
    console = ("event", "seq")
    list_display = ["seq", "received_at", "type", "level", "repeat", "node", "process_name", "kind", "short_text"]
    list_filter = ["type", "level"]
    sortable_by = ["seq"]  # the other columns have no index that could sort a million rows
    search_fields = ["text"]  # shows the search box; the search itself is below
    search_help_text = "As on the live page: node:ship* level>=error text:… In the newest 200,000 events."
    short_text = excerpt("text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ErrorEvent]:
        return super().get_queryset(request).select_related("node", "process__node", "problem")

    @admin.display(description="process")
    def process_name(self, row: ErrorEvent) -> SafeString:
        return cut(row.reported_process)

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
    list_display = ["opened_at", "state", "level", "deadline_at", "ended_at", "node", "process_name", "short_text"]
    list_filter = ["state", "level", "on_deadline"]
    search_fields = ["id__exact", "=node__name", "=process__name", "text"]
    search_help_text = "An id, node or process as it is, or part of the text."
    short_text = excerpt("text")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        return super().get_queryset(request).select_related("node", "process__node", "problem")

    @admin.display(description="process")
    def process_name(self, row: Incident) -> SafeString:
        return cut(row.process.name)


@admin.register(Decision)
class DecisionAdmin(History):
    console = ("incident", "incident_id")
    list_display = ["decided_at", "action", "actor", "sent_at", "short_incident", "short_reason"]
    list_filter = ["action"]
    search_fields = ["incident__id__exact", "actor", "reason"]
    short_reason = excerpt("reason")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Decision]:
        return super().get_queryset(request).select_related("incident__process__node", "user")

    @admin.display(description="incident")
    def short_incident(self, row: Decision) -> SafeString:
        return cut(row.incident)


@admin.register(Rule)
class RuleAdmin(History):
    """Read-only: a rule is edited on its own page, which offers a dry run."""

    console = ("rule", "pk")
    list_display = ["id", "position", "action", "enabled", "suspended_at", "uses", "expires_at", "revision", "name"]
    list_filter = ["enabled", "action", ("removed_at", admin.EmptyFieldListFilter)]
    search_fields = ["name", "condition", "author"]
    ordering = ["position", "id"]


@admin.register(DeadLetter)
class DeadLetterAdmin(History):
    list_display = ["id", "state", "failures", "first_at", "last_at", "process", "short_problem"]
    list_filter = ["state"]
    list_select_related = ["process__node", "problem"]
    search_fields = ["=process__name", "=process__node__name"]
    raw_id_fields = ["incident"]
    short_problem = excerpt("problem")


@admin.register(Requeue)
class RequeueAdmin(History):
    list_display = [
        "created_at",
        "state",
        "actor",
        "sent_at",
        "received_at",
        "ended_at",
        "short_reason",
        "short_detail",
    ]
    list_filter = ["state"]
    search_fields = ["incident__id__exact", "actor", "reason"]
    raw_id_fields = ["incident", "dead_letter"]
    short_reason = excerpt("reason")
    short_detail = excerpt("detail")

    def get_view_on_site_url(self, obj: Any = None) -> str | None:
        return reverse("incident", args=[obj.incident_id]) if obj and obj.incident_id else None


class ProcessActionRequests(admin.TabularInline):
    model = ProcessActionRequest
    fields = ("number", "ask", "result", "numbers", "detail", "sent_at", "ended_at")
    readonly_fields = fields
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(ProcessAction)
class ProcessActionAdmin(History):
    """Actions on processes of Steward/ctrl nodes, with their requests."""

    list_display = [
        "created_at",
        "state",
        "plan",
        "actor",
        "ended_at",
        "node",
        "method",
        "short_reason",
        "short_summary",
    ]
    list_filter = ["state", "plan"]
    list_select_related = ["node"]
    search_fields = ["=node__name", "=method", "=actor"]
    exclude = ("token",)  # secret: with it anybody can reply in the node's name
    inlines = (ProcessActionRequests,)
    short_reason = excerpt("reason")
    short_summary = excerpt("summary")

    def get_view_on_site_url(self, obj: Any = None) -> str | None:
        return reverse("steward-action", args=[obj.node.name, obj.pk]) if obj else None


@admin.register(Process)
class ProcessAdmin(History):
    list_display = ["name", "node", "incarnation", "state", "pid", "last_seen", "events", "failures"]
    list_select_related = ["node"]
    search_fields = ["name", "=node__name"]


@admin.register(Incarnation)
class IncarnationAdmin(History):
    list_display = ["id", "number", "pid", "first_seen", "since", "ended_at", "ending", "failures", "process"]
    list_filter = ["ending"]
    list_select_related = ["process__node"]
    search_fields = ["=process__name", "=process__node__name"]
    ordering = ["-id"]


@admin.register(AccessDenial)
class AccessDenialAdmin(History):
    """Access denials; repeated ones share a row."""

    list_display = ["last_at", "operation", "count", "first_at", "node", "address", "short_target", "short_credential"]
    list_filter = ["operation"]
    search_fields = ["=node", "target", "=address", "credential"]
    search_help_text = "A node or address as it is, or part of a subject, public key or token's digest."
    short_target = excerpt("target")
    short_credential = excerpt("credential")


@admin.register(Problem)
class ProblemAdmin(History):
    console = ("problem", "pk")
    list_display = [
        "id",
        "level",
        "state",
        "count",
        "nodes",
        "first_seen",
        "last_seen",
        "assignee",
        "kind",
        "short_title",
    ]
    list_filter = ["level", "state"]
    list_select_related = ["assignee"]
    search_fields = ["=fingerprint", "kind", "title"]
    short_title = excerpt("title")


@admin.register(Comment)
class CommentAdmin(History):
    list_display = ["at", "author", "short_problem", "short_text"]
    list_select_related = ["problem"]
    search_fields = ["=author", "text"]
    short_problem = excerpt("problem")
    short_text = excerpt("text")


@admin.register(ErrorState)
class ErrorStateAdmin(History):
    list_display = ["id", "count", "consecutive", "first_seen", "last_seen", "process", "short_problem"]
    list_select_related = ["process__node", "problem"]
    search_fields = ["=process__name", "=process__node__name", "=problem__fingerprint"]
    ordering = ["-id"]
    short_problem = excerpt("problem")


@admin.register(AuditEntry)
class AuditEntryAdmin(History):
    list_display = ["at", "actor", "action", "origin", "short_target", "short_reason"]
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
    list_display = ["worker", "at", "started_at", "broker_connected", "broker_connected_since", "broker_error", "lag"]
    ordering = ["-at"]
