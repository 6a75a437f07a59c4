"""What schemathesis tries on the running product, and what it is told about it.

Imported by the test itself, not by its file: schemathesis takes seconds to import, and every test process reads every
file.
"""

import gzip
import itertools
import json
import os
import re
import zlib
from collections import Counter, defaultdict
from typing import Any
from uuid import UUID

import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test
from schemathesis.specs.openapi.checks import ignored_auth

from errorkernel.web.api.openapi.parts import JSON, NDJSON
from errorkernel.web.operations.filters import NUMBER_MAX, TIME_FORMAT
from errorkernel.web.operations.lists import QUERY_FORMAT
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas.operations import CONDITION_FORMAT
from tests.support.documented_product import DOCUMENT, INCIDENTS, TOKENS, PreparedProduct
from tests.support.waiting import PATIENCE_S

MANY = "OPENAPI_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "8"))
"""Examples an operation, beside those that go through every bound of the document: the same ones each time, unless
more are asked for."""

CONFIG = SchemathesisConfig.from_dict({
    "generation": {"with-security-parameters": False},  # real tokens are sent, and taken away by a check of its own
    # The methods that an address does not take are tried once an address by a test of their own.
    "phases": {"coverage": {"unexpected-methods": []}},
    # An array with some bad events is taken with 202; the test itself looks whether they were refused.
    "operations": [{
        "include-operation-id": "postEvents",
        "checks": {"negative_data_rejection": {"expected-statuses": [202, "4xx"]}},
    }],
})  # fmt: skip
SCHEMA: Any = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
SEEN: dict[str, Counter[int]] = defaultdict(Counter)
"""Operation → status → how often it was answered."""
_turns = itertools.count()
"""Which incident a request is about: all of them in turn, so that decided and pending ones are met."""


def token_for(security: list[dict[str, Any]]) -> dict[str, str]:
    """A node asks for what is a node's, an operator for the rest, nobody where nobody needs to be known."""
    token = next((TOKENS[name] for one in security for name in one if name in TOKENS), None)
    return {"Authorization": f"Bearer {token}"} if token else {}


RFC_3339 = re.compile(r"(19[7-9]\d|20\d\d|21\d\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@SCHEMA.hook
def map_path_parameters(ctx: Any, values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Questions that exist, mostly: for one that does not a node is held for seconds."""
    number = whole((values or {}).get("number"))
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= NUMBER_MAX:
        return {**(values or {}), "number": number % 9}  # rules, problems, processes: numbered from 1
    if values and ctx.operation.definition.raw["operationId"] == "getEvent":
        return values | {"id": str(next(_turns) % len(INCIDENTS) + 1)}  # an id, or a number from 1
    if not values or not is_uuid(values.get("id")):
        return values
    number = UUID(values["id"]).int
    return values | {"id": INCIDENTS[next(_turns) % len(INCIDENTS)]} if number % 64 else values


@SCHEMA.hook
def map_query(ctx: Any, values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Waits that are over soon."""
    wait = (values or {}).get("wait")
    if isinstance(wait, int | float) and not isinstance(wait, bool) and wait > 0:
        return {**(values or {}), "wait": wait % 0.2}
    return values


@SCHEMA.hook
def map_body(ctx: Any, value: Any) -> Any:
    """What the document says in words: how whole numbers are written, and that an outcome is the address's."""
    value = whole(value)
    outcome = ctx.operation.definition.raw["operationId"] == "postOutcome" and isinstance(value, dict)
    if outcome and is_uuid(value.get("incident")):
        del value["incident"]
    if isinstance(value, dict):
        _complete(ctx.operation.definition.raw["operationId"], value)
    # To schemathesis whatever we did not offer breaks the format; most texts are conditions to us.
    if isinstance(value, dict) and isinstance(told := value.get("condition"), str) and told not in CONDITIONS:
        value["condition"] = "("
    return value


def _complete(name: str, body: dict[str, Any]) -> None:
    """Add what the document says in words that another field needs."""
    if name == "decideProblem" and body.get("action") in ("kill", "stop") and body.get("reason", "") in (None, ""):
        body["reason"] = "The disk is being replaced."
    if name == "decideProblem" and any(body.get(field) for field in ("node", "release", "condition", "incidents")):
        body["scope"] = "chosen"
    elif name == "decideProblem" and body.get("scope") == "chosen":
        body["node"] = "ship1"
    if name == "changeProblems" and body.get("action") == "merge" and body.get("into") is None:
        body["into"] = 1 if body.get("problems") != [1] else 2


def is_uuid(value: Any) -> bool:
    try:
        return bool(UUID(value))
    except (ValueError, AttributeError, TypeError):
        return False


def has_unreadable_time(value: Any) -> bool:
    """Whether an event or outcome in ``value`` has a time that is not as the document says."""
    if isinstance(value, list):
        return any(map(has_unreadable_time, value))
    if not isinstance(value, dict):
        return False
    given = [value[name] for name in ("occurred_at", "at") if value.get(name) is not None]
    return any(not isinstance(time, str) or not RFC_3339.fullmatch(time) for time in given)


def whole(value: Any) -> Any:
    """To JSON Schema, 7.0 is a whole number too."""
    if isinstance(value, dict):
        return {name: whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


WORDS = st.sampled_from(
    ["node:ship1", "node:ship*", "level>=error", "process:p0", 'text:"no such file"', "since:2h", "file", ""]
)
schemathesis.openapi.format(TIME_FORMAT, st.sampled_from(["2h", "7d", "2026-11-24T10:00"]))
schemathesis.openapi.format(QUERY_FORMAT, st.lists(WORDS, max_size=4).map(" ".join))
CONDITIONS = ["process:p0", "node:ship* level>=error", "kind:FileNotFoundError", "consecutive>=3"]
CONDITIONS += sorted({one.example["condition"] for one in registry.operations if "condition" in one.example})
schemathesis.openapi.format(CONDITION_FORMAT, st.sampled_from(CONDITIONS))


@schemathesis.serializer(NDJSON)
def as_lines(ctx: Any, value: Any) -> bytes:
    """The document describes NDJSON as the array of its lines."""
    return "\n".join(json.dumps(one) for one in (value if isinstance(value, list) else [value])).encode()


class Packed(requests.auth.AuthBase):
    """Packs a body as its Content-Encoding says, which schemathesis does not."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        packers = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
        pack = packers.get(request.headers.get("Content-Encoding", ""))
        if pack and request.body:
            request.prepare_body(pack(request.body if isinstance(request.body, bytes) else request.body.encode()), None)
        return request


def obeys_document(label: str, product: PreparedProduct) -> None:
    """Try the operation with this label, as ``POST /api/v1/events``. Raises what schemathesis finds.

    Not by ``SCHEMA.parametrize``: that makes the examples of all operations when tests are collected.
    """
    operation = next(found.ok() for found in SCHEMA.get_all_operations() if found.ok().label == label)
    load_all_checks()
    with requests.Session() as session:
        session.auth = Packed()
        session.trust_env = False  # to look for proxies at each request costs as much as to send it
        build_operation_test(
            config=SCHEMA.config, operation=operation, test_func=_obeys, given_kwargs={}, feedback=FeedbackSources()
        )(product=product, session=session)


@settings(max_examples=EXAMPLES, derandomize=not MANY, deadline=None, suppress_health_check=list(HealthCheck))
def _obeys(case: Any, product: PreparedProduct, session: requests.Session) -> None:
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    if body and body.mode.is_negative and has_unreadable_time(case.body):
        return  # it is left out, and the rest is taken: tests/unit/test_times.py
    operation = case.operation.definition.raw
    name, headers = operation["operationId"], token_for(operation["security"])
    # One success shows whether an operation asks for a token; each time this check sends the request twice more.
    asked = any(200 <= status < 300 for status in SEEN[name])
    told = case.call_and_validate(
        base_url=product.http_url, session=session, headers=headers, timeout=PATIENCE_S,
        excluded_checks=[ignored_auth] if asked else [],
    )  # fmt: skip
    SEEN[name][told.status_code] += 1
    # A body is read by what it is: a Content-Type that nobody knows does not make its events bad.
    known = case.headers.get("Content-Type") in (None, JSON, NDJSON)
    bad = body and body.mode.is_negative and known
    if bad and name == "postEvents" and told.status_code == 202:
        assert told.json()["rejected"], (case.meta.phase, case.headers, case.body)


# A revision is hardly guessed, and a message is sent again where one failed: these are tried elsewhere.
OFTEN_CONFLICTING = {
    "changeRule", "proposeBulkDecision", "approveBulkDecision", "approveCanary", "applyRest", "rejectBulkDecision",
    "requeueMessage", "dropMessage", "deadLetterMessage", "requeueDeadLetter", "dropDeadLetter", "resumeDeadlines",
    "actOnNode", "unmuteProblem", "reopenProblem", "splitProblem", "mergeProblem", "takeIncident", "closeExpiredNote",
    "decideProblem",
}  # fmt: skip


def assert_answered(expected: dict[str, set[int]]) -> None:
    """Every operation that was tried succeeded once, or could conflict; ``expected``: statuses that were met.

    A document that nobody could use would pass the tries too. Holds of the operations that ran: ``-k`` leaves some out.
    """
    answered = dict(SEEN)
    SEEN.clear()  # the next file's are its own
    print(sum(statuses.total() for statuses in answered.values()), json.dumps(answered))
    for name, statuses in answered.items():
        assert statuses.keys() & ({200, 201, 202} | ({409} if name in OFTEN_CONFLICTING else set())), (name, statuses)
        assert expected.get(name, set()) <= statuses.keys(), (name, statuses)
