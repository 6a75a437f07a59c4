"""The part of the OpenAPI document on what is done about failures: rules, answers to many, failed messages, actions."""

from typing import Any

import msgspec

from errorkernel.web.api.openapi.parts import READER, WRITER, body, errors, listing, number, ok
from errorkernel.web.api.openapi.schemas import ref
from errorkernel.web.api.schemas import common
from errorkernel.web.api.schemas import items as listed
from errorkernel.web.api.schemas import operations as wishes
from errorkernel.web.api.schemas.messages import Disposal, Disposed

_RULE = {"action": "continue", "condition": "process:copy-files kind:FileNotFoundError",
         "name": "Missing sources", "reason": "They are sent again every hour.", "enabled": True}  # fmt: skip
_ACTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "suspend": ("suspendRule", "Stop a rule; what it matches waits for a person", {"reason": "It kills too much."}),
    "resume": ("resumeRule", "Let a suspended rule answer again", {"reason": "The cause is mended."}),
    "delete": ("deleteRule", "Take a rule away; its answers stay on record", {"reason": "The process is gone."}),
}
_TOO_MANY = "`also_waiting`: it would kill or stop more of those than one person may at once"
_DONE = {"200": ok("The rule as it is now", ref(listed.RuleItem)), **errors("404")}


def rule_paths() -> dict[str, Any]:
    """Rules: to read, to write, to try."""
    one = {"parameters": [number("The rule's `id`")]}
    acts = {"/api/v1/rules/{number}/move": one | {"post": _change(
        "moveRule", "Have a rule asked earlier or later", wishes.RuleMove, {"steps": -1}, _DONE)}}  # fmt: skip
    acts |= {f"/api/v1/rules/{{number}}/{name}": one | {"post": _act(*told)} for name, told in _ACTS.items()}
    return {
        "/api/v1/rules": {
            "get": listing("listRules", "Rules", listed.RuleItem),
            "post": _change("addRule", "Write a rule", wishes.RuleWording, _RULE, {
                "201": ok("It stands, at the end", ref(listed.RuleItem)),
                "409": ok(_TOO_MANY, ref(wishes.BadRule))}),
        },
        "/api/v1/rules/dry-run": {
            "post": _change("tryRule", "See what a condition would have decided", wishes.DryRun, {
                "condition": _RULE["condition"], "days": 30}, {
                "200": ok("What was found, so far as was looked", ref(wishes.Tried))}),
        },
        "/api/v1/rules/{number}": one | {
            "put": _change("changeRule", "Write a rule anew", wishes.RuleWording, {**_RULE, "revision": 1}, {
                "200": ok("It stands", ref(listed.RuleItem)),
                "409": ok(f"Somebody else has changed it meanwhile, or {_TOO_MANY}", {"anyOf": [
                    ref(wishes.RuleHasChanged), ref(wishes.BadRule)]}),
                **errors("404")}),
        },
    } | acts  # fmt: skip


def answer_paths() -> dict[str, Any]:
    """One answer to many questions."""
    one = {"parameters": [number("The answer's `id`")]}
    item = ref(wishes.ManyAnswerItem)
    acts = {
        "confirm": ("confirmAnswer", "Answer what was proposed: all of it, or the first one"),
        "go-on": ("goOnWithAnswer", "The first one has done well: answer the others"),
        "leave": ("leaveAnswer", "Answer no more of them"),
    }
    refused = {"409": ok("It cannot be done now: the sentence says why", ref(common.Fault))}
    done = {"200": ok("How far it is", item), **refused, **errors("401", "403", "404", "405", "503")}
    asked = {"action": "continue", "condition": _RULE["condition"], "reason": "The disk is back."}
    return {
        "/api/v1/answers": {
            "get": listing("listAnswers", "Answers to many questions", wishes.ManyAnswerItem),
            "post": _change("proposeAnswer", "Propose one answer to many questions", wishes.ManyAnswer, asked, {
                "201": ok("These questions are kept; nothing is answered yet", item), **refused}),
        },
        "/api/v1/answers/{number}": one | {"get": {
            "operationId": "getAnswer", "tags": ["operators"], "summary": "How far an answer to many is",
            "security": READER,
            "responses": {"200": ok("How far it is", item), **errors("401", "403", "404", "405", "503")}}},
        "/api/v1/answers/{number}/questions": one | {
            "get": listing("listAnswerQuestions", "Its questions, and what became of each", wishes.ManyAnswerQuestion,
                           of_one=True)},
    } | {
        f"/api/v1/answers/{{number}}/{act}": one | {"post": {
            "operationId": name, "tags": ["operators"], "summary": summary, "security": WRITER, "responses": done}}
        for act, (name, summary) in acts.items()
    }  # fmt: skip


_PROBLEM_ACTS: dict[str, tuple[str, str, type[msgspec.Struct], dict[str, Any]]] = {
    "mute": ("muteProblem", "Take a problem out of the list for a time", wishes.ProblemMute, {
        "more": 100, "reason": "It is known."}),
    "unmute": ("unmuteProblem", "End a mute", wishes.ProblemAct, {"reason": "It is too many."}),
    "resolve": ("resolveProblem", "Say that it is mended", wishes.ProblemAct, {"reason": "The disk was replaced."}),
    "reopen": ("reopenProblem", "Say that it is not mended", wishes.ProblemAct, {"reason": "It was another disk."}),
    "assign": ("assignProblem", "Say who looks after it", wishes.ProblemAssignment, {"to": None}),
    "comment": ("commentProblem", "Write something under it", wishes.ProblemRemark, {"text": "Look at the cable."}),
    "merge": ("mergeProblem", "Make it part of another", wishes.ProblemMerge, {"into": 1, "reason": "One disk."}),
    "split": ("splitProblem", "Take it out of the other again", wishes.ProblemAct, {"reason": "Two disks."}),
}  # fmt: skip


def problem_paths() -> dict[str, Any]:
    """What is done with problems."""
    paths = {}
    for act, (name, summary, shape, example) in _PROBLEM_ACTS.items():
        asked = _change(name, summary, shape, example, {
            "200": ok("The problem as it is now; of a merge, the one that it is part of", ref(listed.ProblemItem)),
            "409": ok("It cannot be done now: the sentence says why", ref(common.Fault)),
            **errors("400", "404")})  # fmt: skip
        paths[f"/api/v1/problems/{{number}}/{act}"] = {
            "parameters": [number("The problem's `id`")],
            "post": asked | {"description": "Needs the permission to answer: group operator or administrator."},
        }
    return paths


_MESSAGE_ACTS: dict[str, tuple[str, str]] = {
    "/api/v1/incidents/{id}/requeue": ("requeueMessage", "Send the failed message to its process again"),
    "/api/v1/incidents/{id}/drop": ("dropMessage", "Drop the failed message; it stays to be read"),
    "/api/v1/incidents/{id}/dead-letter": ("deadLetterMessage", "Keep the failed message as a dead letter"),
    "/api/v1/dead-letters/{number}/requeue": ("requeueDeadLetter", "Send a dead letter to its process again"),
    "/api/v1/dead-letters/{number}/drop": ("dropDeadLetter", "Drop a dead letter; it stays to be read"),
}


def message_paths() -> dict[str, Any]:
    """The failed message: to its process again, away, or kept."""
    of_question, of_letter = {"$ref": "#/components/parameters/IncidentId"}, number("The dead letter's `id`")
    return {
        path: {"parameters": [of_question if "{id}" in path else of_letter], "post": _dispose(name, summary)}
        for path, (name, summary) in _MESSAGE_ACTS.items()
    }


def node_paths() -> dict[str, Any]:
    """What is done to the processes of Steward and ctrl nodes."""
    wish = {"action": "kill", "process": "REQHttpGet", "reason": "It hangs."}
    return {
        "/api/v1/nodes/{number}/actions": {
            "parameters": [number("The node's `id`")],
            "get": listing("listActions", "What was done to a node's processes", listed.ActionItem, of_one=True),
            "post": _change("actOnNode", "List, stop, start or kill a process of a Steward or ctrl node",
                wishes.ActionWish, wish, {
                "202": ok("It is going to be done; this is how far it is", ref(listed.ActionItem)),
                "409": ok("It cannot be done now: the sentence says why", ref(common.Fault)),
                **errors("400", "404")}),
        }
    }  # fmt: skip


def _dispose(name: str, summary: str) -> dict[str, Any]:
    asked = _change(name, summary, Disposal, {"reason": "The disk was replaced."}, {
        "200": ok("How far it is", ref(Disposed)),
        "409": ok("It cannot be done now: the sentence says why", ref(common.Fault)),
        **errors("400", "404")})  # fmt: skip
    asked["requestBody"]["required"] = False
    return asked


def _act(name: str, summary: str, example: dict[str, Any]) -> dict[str, Any]:
    refused = {"409": ok(f"It is not suspended; or {_TOO_MANY}", ref(wishes.BadRule))} if name == "resumeRule" else {}
    return _change(name, summary, wishes.RuleAct, example, _DONE | refused)


def _change(
    name: str, summary: str, shape: type[msgspec.Struct], example: dict[str, Any], answers: dict[str, Any]
) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["operators"],
        "summary": summary,
        "security": WRITER,
        "requestBody": body(shape, example),
        "responses": {
            "400": ok("It cannot be read, or cannot be so", ref(wishes.BadRule)),
            **errors("401", "403", "405", "413", "503"),
            **answers,
        },
    }
