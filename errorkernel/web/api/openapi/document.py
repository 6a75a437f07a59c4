"""The OpenAPI document of this installation: every address of the HTTP API, with all that it takes and answers.

Schemas come from ``api_schema``; numbers come from where they are kept. What stands here alone is which address
answers what, and tests hold that against the addresses and against the running product.

Source: https://spec.openapis.org/oas/v3.1.1.html
"""

from typing import Any

from errorkernel.domain.incident_state import State
from errorkernel.domain.limits import Limits
from errorkernel.domain.liveness import Liveness
from errorkernel.models import DeadLetter
from errorkernel.web.api.openapi.parts import (
    ERRORS,
    JSON,
    NDJSON,
    NODE,
    QUERY_FORMAT,
    READER,
    WRITER,
    body,
    error,
    errors,
    listing,
    number,
    ok,
    text,
)
from errorkernel.web.api.openapi.policy_paths import (
    answer_paths,
    message_paths,
    node_paths,
    problem_paths,
    rule_paths,
)
from errorkernel.web.api.openapi.schemas import batch, ref, schemas
from errorkernel.web.api.schemas import common
from errorkernel.web.api.schemas import items as listed
from errorkernel.web.api.schemas.messages import DeadLetterItem
from errorkernel.web.api.views.lists import NUMBER_MAX
from errorkernel.web.node_api.bodies import ENCODINGS
from errorkernel.web.node_api.gateway import APPEAR_WAIT_S, WAIT_MAX_S

_ABOUT = (
    "Nodes report over HTTP what they cannot report over NATS; operators read and answer. Unknown fields and "
    "parameters are ignored; a body is read by what it is, whatever its Content-Type says. Whole numbers are written "
    "without a decimal point. Every error is JSON with one sentence in `error`. `HEAD` is answered wherever a list is."
)


def document(address: str, version: str, limits: Limits, *, example: str) -> dict[str, Any]:
    """The document for the installation at ``address`` (no slash at its end), to be encoded as JSON.

    ``example``: the id of the event in the examples; a new one makes them work as they are.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Steward error kernel",
            "version": version,
            "description": _ABOUT,
        },
        "servers": [{"url": address}],
        "tags": [
            {"name": "nodes", "description": "For nodes: report, wait for the answer, tell the outcome"},
            {"name": "operators", "description": "For operators: read, answer"},
            {"name": "probes", "description": "Without login, for orchestrators and scrapers"},
        ],
        "paths": _node_paths(limits, example)
        | _operator_paths()
        | _own_paths()
        | answer_paths()
        | problem_paths()
        | message_paths()
        | node_paths()
        | rule_paths()
        | _probe_paths(),
        "components": {
            "schemas": schemas(limits),
            "parameters": {"IncidentId": _incident_id()},
            "headers": _headers(),
            "responses": {status: error(status) for status in ERRORS},
            "securitySchemes": _security(),
        },
    }


def _node_paths(limits: Limits, example: str) -> dict[str, Any]:
    of_question = {"parameters": [{"$ref": "#/components/parameters/IncidentId"}]}
    return {
        "/api/v1/events": {
            "post": _post_events(limits, example),
            "get": listing("listEvents", "The stored events", listed.EventItem, _Q),
        },
        "/api/v1/incidents/{id}/decision": of_question | {"get": _await_decision(), "post": _decide()},
        "/api/v1/commands": {"get": _take_commands()},
        "/api/v1/incidents/{id}/outcome": of_question | {"post": _post_outcome(limits)},
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
            "202": ok("The broker has them", ref(common.Taken)),
            "400": ok("The body cannot be read, or none of the events can be taken", ref(common.NoneTaken)),
            **errors("401", "405", "413", "415", "429", "503"),
        },
    }  # fmt: skip


def _await_decision() -> dict[str, Any]:
    return {
        "operationId": "awaitDecision",
        "tags": ["nodes"],
        "summary": "Wait for the answer to a question",
        "security": NODE,
        "parameters": [_wait()],
        "responses": {
            "200": ok("The answer; from now on it counts as delivered", ref("Decision")),
            "204": {"description": "No answer yet: ask again"},
            "404": ok("This node has no such question, or it was withdrawn", ref(common.NoQuestion)),
            **errors("400", "401", "405", "503"),
        },
    }  # fmt: skip


def _decide() -> dict[str, Any]:
    return {
        "operationId": "decide",
        "tags": ["operators"],
        "summary": "Answer a question",
        "description": "Needs the permission to answer: group operator or administrator.",
        "security": WRITER,
        "requestBody": body(common.Answer, {"action": "kill", "reason": "disk is being replaced"}),
        "responses": {
            "200": ok("The answer is recorded and on its way", ref(common.Answered)),
            "409": ok("Somebody was first, or nobody asks any more", {"anyOf": [
                ref(common.SomebodyWasFirst), ref(common.NobodyAsks)]}),
            **errors("400", "401", "403", "404", "405", "413", "503"),
        },
    }  # fmt: skip


def _take_commands() -> dict[str, Any]:
    return {
        "operationId": "takeCommands",
        "tags": ["nodes"],
        "summary": "See what the node is to do",
        "description": "A failed message that is to be taken up again. Each is told until its outcome is "
        "posted, to its own `id`: do each once.",
        "security": NODE,
        "responses": {
            "200": ok("All whose outcome is not known yet", _COMMANDS),
            **errors("401", "405", "429", "503"),
        },
    }  # fmt: skip


def _post_outcome(limits: Limits) -> dict[str, Any]:
    return {
        "operationId": "postOutcome",
        "tags": ["nodes"],
        "summary": "Tell what became of an answer, or of a command",
        "description": f"At most {limits.event_bytes} bytes. `v` and `incident` need not be said again; an "
        "`incident` that is not the one of the address is a 400.",
        "security": NODE,
        "parameters": [_content_encoding()],
        "requestBody": body("Outcome", {"state": "applied", "new_incarnation": 8}),
        "responses": {
            "202": ok("The broker has it", ref(common.OutcomeTaken)),
            **errors("400", "401", "404", "405", "413", "415", "429", "503"),
        },
    }  # fmt: skip


def _operator_paths() -> dict[str, Any]:
    named = [text("node", "Only of this node"), text("process", "Only of this process")]
    states = _states(ref(State))
    of_letters = _states({"type": "string", "enum": DeadLetter.State.values})
    return {
        "/api/v1/incidents": {"get": listing("listIncidents", "Questions", listed.IncidentItem, states, *named)},
        "/api/v1/problems": {
            "get": listing("listProblems", "Problems", listed.ProblemItem, text("kind", "Only of this kind"))
        },
        "/api/v1/map": {
            "get": listing("errorMap", "Error states by node and process", listed.ErrorStateItem, *named, _problem())
        },
        "/api/v1/processes": {"get": listing("listProcesses", "Processes", listed.ProcessItem, *named, _liveness())},
        "/api/v1/processes/{number}/incarnations": {
            "parameters": [number("The process's `id`")],
            "get": listing("listIncarnations", "The lives of a process", listed.IncarnationItem, of_one=True),
        },
        "/api/v1/nodes": {"get": listing("listNodes", "Nodes", listed.NodeItem, named[0], _liveness())},
        "/api/v1/dead-letters": {
            "get": listing("listDeadLetters", "Messages kept as dead letters", DeadLetterItem, of_letters, *named)
        },
    }


def _states(one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "state",
        "in": "query",
        "description": "Only in these states, with commas between them",
        "style": "form",
        "explode": False,
        "allowEmptyValue": True,
        "schema": {"type": "array", "items": one},
    }


def _own_paths() -> dict[str, Any]:
    """The document itself."""
    return {
        "/api/v1/openapi.json": {
            "get": {
                "operationId": "openapi",
                "tags": ["operators"],
                "summary": "This document",
                "security": READER,
                "responses": {
                    "200": ok("OpenAPI 3.1", {"type": "object", "required": ["openapi", "info", "paths"]}),
                    **errors("401", "403", "405", "503"),
                },
            }
        },
        "/api/v1/docs": {
            "get": {
                "operationId": "docs",
                "tags": ["operators"],
                "summary": "This document as a page",
                "security": READER,
                "responses": {
                    "200": {"description": "A page", "content": {"text/html": {"schema": {"type": "string"}}}},
                    "302": {
                        "description": "To the login, for a browser that is not logged in",
                        "headers": {"Location": {"schema": {"type": "string"}, "required": True}},
                        "content": {"text/html": {"schema": {"type": "string"}}},
                    },
                    **errors("401", "403", "405", "503"),
                },
            }
        },
    }


def _probe_paths() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/health/live": {"get": _probe("live", "Whether the process answers at all", {"200": {
            "description": "It does", "content": text}})},
        "/health/ready": {"get": _probe("ready", "Whether work can be done", {
            "200": ok("It can", ref(common.Readiness)), "503": ok("It cannot", ref(common.Readiness))})},
        "/metrics": {"get": _probe("metrics", "Metrics in Prometheus' text format", {"200": {
            "description": "All of them", "content": text}})},
    }  # fmt: skip


def _probe(name: str, summary: str, responses: dict[str, Any]) -> dict[str, Any]:
    refused = {"description": ERRORS["405"], "headers": {"Allow": {"$ref": "#/components/headers/Allow"}}}
    return {
        "operationId": name,
        "tags": ["probes"],
        "summary": summary,
        "security": [],
        "responses": {**responses, "405": refused},
    }


def _problem() -> dict[str, Any]:
    whole = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX}
    return {
        "name": "problem",
        "in": "query",
        "allowEmptyValue": True,
        "description": "Only of this one",
        "schema": whole,
    }


def _liveness() -> dict[str, Any]:
    return {
        "name": "liveness",
        "in": "query",
        "allowEmptyValue": True,
        "description": "Only those that are so",
        "schema": {"type": "string", "enum": list(Liveness)},
    }


_COMMANDS = {
    "type": "object",
    "required": ["commands"],
    "properties": {"commands": {"type": "array", "items": ref("Command")}},
}
_Q = {
    "name": "q",
    "in": "query",
    "schema": {"type": "string", "format": QUERY_FORMAT},
    "description": "A query, e.g. `node:ship* level>=error since:2h`; a mistake in it is a 400 with its `position`",
}


def _wait() -> dict[str, Any]:
    told = f"Seconds to wait for an answer; less than 0 count as 0, more than {WAIT_MAX_S:g} as {WAIT_MAX_S:g}"
    seconds = {"type": "number", "default": 0}
    return {"name": "wait", "in": "query", "schema": seconds, "allowEmptyValue": True, "description": told}


def _incident_id() -> dict[str, Any]:
    told = (
        "The id of the event that asked. A node that asks about one that was posted just now is held for up to "
        f"{APPEAR_WAIT_S:g} s until it is stored, however short its wait."
    )
    return {
        "name": "id",
        "in": "path",
        "required": True,
        "description": told,
        "schema": {"type": "string", "format": "uuid"},
    }


def _content_encoding() -> dict[str, Any]:
    packed = {"type": "string", "enum": list(ENCODINGS), "default": "identity"}
    return {"name": "Content-Encoding", "in": "header", "schema": packed, "description": "How the body is packed"}


def _events_body(limits: Limits, example: str) -> dict[str, Any]:
    told = (
        f"Up to {limits.events_per_request} events; at most {limits.body_compressed_bytes} bytes as sent, "
        f"{limits.body_bytes} when unpacked. As NDJSON, the lines are the items of the array."
    )
    event = {"v": 1, "id": example, "type": "error", "process": "copy-files", "error": {"text": "no such file"}}
    return {
        "required": True,
        "description": told,
        "content": {
            JSON: {"schema": {"anyOf": [ref("Event"), batch(limits)]}, "example": event},
            NDJSON: {"schema": {**batch(limits), "minItems": 1}, "example": [event]},
        },
    }


def _headers() -> dict[str, Any]:
    return {
        "Retry-After": {
            "description": "Seconds to wait before the same again",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
        "WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Bearer "}},
        "Allow": {"description": "The methods that there are", "required": True, "schema": {"type": "string"}},
    }


def _security() -> dict[str, Any]:
    return {
        "nodeToken": {"type": "http", "scheme": "bearer", "description": "`token` of a node's credentials"},
        "operatorToken": {
            "type": "http",
            "scheme": "bearer",
            "description": "A personal token, from `steward token add USER`. A token that is sent is the one that "
            "counts: it never falls back to a session.",
        },
        "session": {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "As the pages have it"},
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": "With a session, every change needs Django's CSRF token: the value of the cookie csrftoken",
        },
    }
