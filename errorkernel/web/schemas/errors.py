"""The errors of the HTTP API: RFC 9457 problem details with a stable ``code``, and the registry of all codes.

A code has one status. It never changes its meaning; ``detail`` may be worded differently in the next version.

Source: https://www.rfc-editor.org/rfc/rfc9457
"""

from dataclasses import dataclass
from typing import Any

import msgspec

from errorkernel.platform import conf

MEDIA_TYPE = "application/problem+json"


class ErrorBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """An error as problem details (RFC 9457). Programs read ``code`` and ``field``, people ``detail``."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    error: str
    field: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """``title``: the same in every error with this code. ``example``: one ``detail`` of it."""

    name: str
    status: int
    title: str
    example: str

    @property
    def type(self) -> str:
        """Identifies the kind of error, and is its place on the page of the API."""
        return f"{conf.get().base_path}/api/v1/docs#error-{self.name}"


_TABLE: dict[int, dict[str, tuple[str, str]]] = {
    400: {
        "invalid_body": ("The body cannot be read", "The body is not JSON: it ends too early."),
        "unknown_field": ("The body has an unknown field", "Unknown field 'untill'. Did you mean 'until'?"),
        "duplicate_field": ("The body has a field twice", "The body has the field 'action' twice."),
        "missing_field": ("A field is missing", "The field 'reason' is missing."),
        "invalid_field": ("A field has an invalid value", "'action' must be continue, kill or stop, not 'stpo'."),
        "unknown_parameter": ("Unknown parameter", "Unknown parameter 'stat'. Did you mean 'state'?"),
        "repeated_parameter": ("A parameter is repeated", "'after' is given 2 times."),
        "invalid_parameter": ("A parameter has an invalid value", "'limit' must be a whole number from 1 to 1000."),
        "invalid_search": ("The search cannot be read", "There is no field named nod."),
        "invalid_request": ("The request cannot be read", "The host is not in STEWARD_ALLOWED_HOSTS."),
        "no_event_accepted": ("No event was accepted", "None of the events can be accepted."),
        "invalid_outcome": ("The outcome cannot be read", "The body names another incident than the address."),
    },
    401: {
        "unauthenticated": ("Authentication is needed", "Send a personal token: Authorization: Bearer …"),
        "invalid_token": ("The token is not valid", "The token is unknown or was revoked."),
    },
    403: {
        "forbidden": ("The permission is missing", "This needs the permission errorkernel.decide_incident."),
        "csrf_failed": ("The CSRF check failed", "Send the CSRF token in the header X-CSRFToken."),
    },
    404: {
        "not_found": ("Not found", "There is no such incident."),
        "unknown_address": ("Unknown address", "There is nothing at this address."),
        "withdrawn": ("The incident was withdrawn", "The incident was withdrawn. It will not be decided."),
    },
    405: {
        "method_not_allowed": ("Method not allowed", "This address accepts GET and HEAD, not DELETE."),
    },
    409: {
        "already_decided": ("Another decision was first", "user:bob decided kill first."),
        "not_open": ("The incident is not pending", "The incident is withdrawn."),
        "not_pending": ("The incident is not pending", "The incident is no longer pending, so it cannot be taken."),
        "bulk_decision_in_progress": (
            "Another bulk decision is about these processes",
            "bob has already decided kill for these processes (bulk decision 12). Reject that one first.",
        ),
        "request_id_reused": (
            "The request id was used for another request",
            "This request id was already used for another request.",
        ),
        "no_message": ("No message is stored", "The process did not report its message in progress."),
        "message_in_use": (
            "The process still has the message",
            "The process still has the message. Decide the incident first.",
        ),
        "message_dropped": ("The message was dropped", "The message was dropped."),
        "already_requeued": ("The message is already requeued", "The message has already been requeued."),
        "already_kept": ("The message is already kept", "The message is already kept as a dead letter."),
        "no_commands": ("The node accepts no commands", "This node does not accept commands."),
        "message_truncated": (
            "The message was truncated",
            "The message was truncated when it was reported; only a part of it is stored.",
        ),
        "problem_merged": (
            "The problem is merged into another",
            "The problem is merged into problem 12. Use that problem.",
        ),
        "not_muted": ("The problem is not muted", "The problem is not muted; its state is open."),
        "already_resolved": ("The problem is already resolved", "The problem is already resolved."),
        "not_resolved": ("The problem is not resolved", "The problem is not resolved; its state is open."),
        "unknown_user": ("No such user may decide", "There is no user “ann” with the permission to decide."),
        "pending_incidents": (
            "Processes are pending on the problems",
            "Pending processes: 3, on 1 of these. They stay blocked: resolving decides nothing.",
        ),
        "cannot_merge": ("The problems cannot be merged", "A problem cannot be merged into itself."),
        "time_in_past": ("The time is in the past", "The end of the mute is in the past."),
        "not_merged": ("The problem is not merged", "The problem is not merged into another problem."),
        "revision_conflict": ("The rule was changed meanwhile", "user:bob has changed the rule; it is now revision 3."),
        "confirmation_needed": (
            "The condition matches most incidents",
            "The condition matches 507 of the 507 incidents of the last 7 days. Confirm it with the number 507.",
        ),
        "too_many_at_once": (
            "Too many processes at once",
            "25 pending incidents match. kill for more than 20 at once needs approval by a second person.",
        ),
        "too_many_rules": ("There are too many rules", "There are already 1,000 rules, the maximum."),
        "deadlines_held": ("Deadlines are held", "Deadlines are held after a jump of the clock. Resume them first."),
        "deadlines_not_held": ("Deadlines are not held", "Deadlines are not held."),
        "not_suspended": ("The rule is not suspended", "This rule is not suspended."),
        "no_incident_matches": ("No pending incident matches", "No pending incident matches this search."),
        "canary_not_matched": ("The canary does not match", "The canary is not among the incidents."),
        "proposal_expired": ("The proposal has expired", "The proposal has expired. Create a new proposal."),
        "needs_second_person": (
            "A second person must approve",
            "kill for 30 processes needs approval by a second person.",
        ),
        "has_canary": ("A canary was chosen", "A canary was chosen: approve it first."),
        "has_no_canary": ("No canary was chosen", "No canary was chosen: approve all."),
        "canary_failed": ("The canary failed", "The process failed again after the decision."),
        "canary_watched": ("The canary is being watched", "The canary is observed until 10:02."),
        "wrong_state": ("Not possible in this state", "The bulk decision has ended."),
        "proposer_may_not_decide": (
            "The proposer may not decide any more",
            "user:bob proposed it and no longer has the permission to decide.",
        ),
    },
    408: {
        "too_slow": ("The request came too slowly", "The head of the request took longer than 10 s."),
    },
    413: {
        "too_large": ("The body is too large", "The body has more than 65,536 bytes."),
        "too_many_events": ("Too many events", "At most 1,000 events are accepted in one request."),
    },
    414: {
        "address_too_long": ("The address is too long", "The address is too long."),
    },
    415: {
        "unsupported_encoding": ("Unsupported content encoding", "The Content-Encoding br is not supported."),
        "unsupported_media_type": ("Unsupported media type", "Send JSON with Content-Type: application/json."),
    },
    429: {
        "rate_limited": ("Too many requests", "Too many events; wait before sending more."),
        "too_many_connections": (
            "Too many connections",
            "There are too many connections from this address.",
        ),
        "too_many_waits": ("Too many waiting requests", "Too many requests of this node wait; ask again later."),
        "stream_share_full": (
            "Too many events are not stored yet",
            "Too many events of this node are not stored yet. Send all of it again.",
        ),
    },
    431: {
        "headers_too_large": ("The headers are too large", "The headers have more than 65536 bytes or 100 lines."),
    },
    500: {
        "internal_error": ("Internal error", "The request failed here. The server's log says why."),
    },
    503: {
        "server_busy": ("Too many connections", "There are too many connections."),
        "broker_unavailable": ("The broker is away", "The broker is away. Send the request again."),
        "database_unavailable": ("The database is away", "The database is away. Send the request again."),
    },
}
"""Status → code → title, and one `detail` as an example."""

CODES = {
    name: ErrorCode(name, status, title, example)
    for status, codes in _TABLE.items()
    for name, (title, example) in codes.items()
}
"""All codes by name. Packages that ``web`` does not import add theirs with ``define``."""


def define(*codes: ErrorCode) -> None:
    """Add codes of another package. Raises ValueError for a name that exists with another meaning."""
    for code in codes:
        if CODES.setdefault(code.name, code) != code:
            raise ValueError(f"The error code {code.name} exists already.")


def body_of(code: str, detail: str, *, shape: type[ErrorBody] = ErrorBody, field: str = "", **more: Any) -> ErrorBody:
    """The body of an error. ``more``: further fields of ``shape``."""
    known = CODES[code]
    return shape(
        type=known.type,
        title=known.title,
        status=known.status,
        detail=detail,
        code=code,
        error=detail,
        field=field or None,
        **more,
    )
