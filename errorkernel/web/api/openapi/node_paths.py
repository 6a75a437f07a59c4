"""The API of nodes in the OpenAPI document, with the limits of this installation."""

from typing import Any

from errorkernel.domain.limits import Limits
from errorkernel.web.api.openapi.parts import JSON, NDJSON, NODE, body, error, errors, ok
from errorkernel.web.api.openapi.schemas import batch, ref
from errorkernel.web.node_api.bodies import ENCODINGS
from errorkernel.web.node_api.decision_waits import APPEAR_WAIT_S
from errorkernel.web.node_api.gateway import WAIT_MAX_S
from errorkernel.web.schemas import common

_NONE_ACCEPTED = dict.fromkeys(("invalid_body", "no_event_accepted"), common.NoEventsAccepted)
_COMMANDS = {
    "type": "object",
    "required": ["commands"],
    "properties": {"commands": {"type": "array", "items": ref("Command")}},
}


_RATE = {name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit", "RateLimit-Policy")}


def node_paths(limits: Limits, example: str) -> dict[str, Any]:
    """``example``: the id of the event in the examples."""
    of_incident = {"parameters": [{"$ref": "#/components/parameters/IncidentId"}]}
    return {
        "/api/v1/events": {"post": _post_events(limits, example)},
        "/api/v1/incidents/{id}/decision": {**of_incident, "get": _await_decision()},
        "/api/v1/commands": {"get": _take_commands()},
        "/api/v1/incidents/{id}/outcome": {**of_incident, "post": _post_outcome(limits)},
    }


def _post_events(limits: Limits, example: str) -> dict[str, Any]:
    return {
        "operationId": "postEvents",
        "tags": ["nodes"],
        "summary": "Report one event or many",
        "description": "One event, an array, or one event a line (NDJSON). 202 is said only after the broker "
        "has what is in `accepted`. Repeat whatever you are unsure of: an event with the same id is stored "
        "once.",
        "security": NODE,
        "parameters": [_content_encoding()],
        "requestBody": _events_body(limits, example),
        "responses": {
            "202": ok("The broker has them", ref(common.EventsAccepted)) | {"headers": _RATE},
            "400": error("invalid_body", "no_event_accepted", shapes=_NONE_ACCEPTED),
            "413": error("too_large", "too_many_events"),
            **errors("Unauthorized", "MethodNotAllowed", "UnsupportedType", "RateLimited", "Unavailable"),
        },
    }  # fmt: skip


def _await_decision() -> dict[str, Any]:
    return {
        "operationId": "awaitDecision",
        "tags": ["nodes"],
        "summary": "Wait for the decision of an incident",
        "security": NODE,
        "parameters": [_wait()],
        "responses": {
            "200": ok("The decision; from now on it counts as delivered", ref("Decision")),
            "204": {"description": "No decision yet: ask again"},
            "400": error("invalid_parameter", "repeated_parameter"),
            "404": error("not_found", "withdrawn", shapes={"withdrawn": common.UnknownIncident}),
            **errors("Unauthorized", "MethodNotAllowed", "RateLimited", "Unavailable"),
        },
    }  # fmt: skip


def _take_commands() -> dict[str, Any]:
    return {
        "operationId": "takeCommands",
        "tags": ["nodes"],
        "summary": "See what the node is to do",
        "description": "A failed message that is to be taken up again. Each is text until its outcome is "
        "posted, to its own `id`: do each once.",
        "security": NODE,
        "responses": {
            "200": ok("All whose outcome is not known yet", _COMMANDS),
            **errors("Unauthorized", "MethodNotAllowed", "RateLimited", "Unavailable"),
        },
    }  # fmt: skip


def _post_outcome(limits: Limits) -> dict[str, Any]:
    return {
        "operationId": "postOutcome",
        "tags": ["nodes"],
        "summary": "Report the outcome of a decision, or of a command",
        "description": f"At most {limits.event_bytes} bytes. `v` and `incident` need not be said again; an "
        "`incident` that is not the one of the address is a 400.",
        "security": NODE,
        "parameters": [_content_encoding()],
        "requestBody": body("Outcome", {"state": "applied", "new_incarnation": 8}),
        "responses": {
            "202": ok("The broker has it", ref(common.OutcomeAccepted)),
            "400": error("invalid_outcome", "invalid_body", shapes={"invalid_body": common.NoEventsAccepted}),
            **errors(
                *("Unauthorized", "NotFound", "MethodNotAllowed", "TooLarge", "UnsupportedType", "RateLimited"),
                "Unavailable",
            ),
        },
    }  # fmt: skip


def _wait() -> dict[str, Any]:
    text = f"Seconds to wait for a decision; less than 0 count as 0, more than {WAIT_MAX_S:g} as {WAIT_MAX_S:g}"
    seconds = {"type": "number", "default": 0}
    return {"name": "wait", "in": "query", "schema": seconds, "allowEmptyValue": True, "description": text}


def incident_id() -> dict[str, Any]:
    text = (
        "The id of the event that asked. A node that asks about one that was posted just now is held for up to "
        f"{APPEAR_WAIT_S:g} s until it is stored, however short its wait."
    )
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": text,
        "schema": {"type": "string", "format": "uuid"},
    }


def _content_encoding() -> dict[str, Any]:
    packed = {"type": "string", "enum": list(ENCODINGS), "default": "identity"}
    return {"name": "Content-Encoding", "in": "header", "schema": packed, "description": "How the body is packed"}


def _events_body(limits: Limits, example: str) -> dict[str, Any]:
    text = (
        f"Up to {limits.events_per_request} events; at most {limits.body_compressed_bytes} bytes as sent, "
        f"{limits.body_bytes} when unpacked. As NDJSON, the lines are the items of the array."
    )
    event = {"v": 1, "id": example, "type": "error", "process": "copy-files", "error": {"text": "no such file"}}
    return {
        "required": True,
        "description": text,
        "content": {
            JSON: {"schema": {"anyOf": [ref("Event"), batch(limits)]}, "example": event},
            NDJSON: {"schema": {**batch(limits), "minItems": 1}, "example": [event]},
        },
    }
