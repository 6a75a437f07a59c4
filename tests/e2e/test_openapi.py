"""The OpenAPI document is complete, and the running product does what it says: looked for by schemathesis."""

import gzip
import html
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test

import steward_site.urls  # noqa: F401 - with the operations of other packages
from errorkernel.domain.ids import uuid7
from errorkernel.domain.limits import Limits
from errorkernel.platform import conf
from errorkernel.web.api import urls
from errorkernel.web.api.openapi.document import document
from errorkernel.web.api.openapi.page import product_version
from errorkernel.web.api.openapi.parts import JSON, NDJSON
from errorkernel.web.api.openapi.schemas import schemas
from errorkernel.web.health import urls as health_urls
from errorkernel.web.operations.listing import NUMBER_MAX
from errorkernel.web.operations.lists import QUERY_FORMAT
from errorkernel.web.operations.registry import registry
from errorkernel.web.schemas import common, items, messages
from errorkernel.web.schemas.operations import CONDITION_FORMAT
from tests.support.product import Product
from tests.support.waiting import wait_for

MANY = "OPENAPI_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "8"))
"""Examples an operation, beside those that go through every bound of the document: the same ones each time, unless
more are asked for."""
QUESTIONS = [str(uuid7()) for _ in range(12)]


CONFIG = SchemathesisConfig.from_dict({
    "generation": {"with-security-parameters": False},  # real tokens are sent, and taken away by a check of its own
    # An array with some bad events is taken with 202; the test itself looks whether they were refused.
    "operations": [{
        "include-operation-id": "postEvents",
        "checks": {"negative_data_rejection": {"expected-statuses": [202, "4xx"]}},
    }],
})  # fmt: skip
SCHEMA: Any = schemathesis.openapi.from_dict(
    document("http://127.0.0.1", product_version(), conf.get().limits, example=str(uuid7())), config=CONFIG
)
SEEN: dict[str, Counter[int]] = defaultdict(Counter)
"""Operation → status → how often it was answered."""
# What the document calls them → the tokens of the running product.
TOKENS: dict[str, str] = {}


def token_for(security: list[dict[str, Any]]) -> dict[str, str]:
    """A node asks for what is a node's, an operator for the rest, nobody where nobody needs to be known."""
    token = next((TOKENS[name] for one in security for name in one if name in TOKENS), None)
    return {"Authorization": f"Bearer {token}"} if token else {}


@SCHEMA.hook
def map_path_parameters(ctx: Any, values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Questions that exist, mostly: for one that does not a node is held for seconds."""
    number = whole((values or {}).get("number"))
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= NUMBER_MAX:
        return {**(values or {}), "number": number % 9}  # rules, problems, processes: numbered from 1
    if not values or not is_uuid(values.get("id")):
        return values
    number = UUID(values["id"]).int
    return values | {"id": QUESTIONS[number % len(QUESTIONS)]} if number % 64 else values


@SCHEMA.hook
def map_query(ctx: Any, values: dict[str, Any] | None) -> dict[str, Any] | None:
    """Waits that are over soon."""
    wait = (values or {}).get("wait")
    if isinstance(wait, int | float) and not isinstance(wait, bool) and wait > 0:
        return {**(values or {}), "wait": wait % 0.2}
    return values


class PreparedProduct(Product):
    """With a node and an operator, and with questions: open, answered and withdrawn ones."""

    def prepare(self) -> "PreparedProduct":
        self.start()
        self.node, self.operator = self.add_node("ship1")["token"], self.token()
        TOKENS.update(nodeToken=self.node, operatorToken=self.operator)
        asked = [
            {"v": 1, "id": one, "type": "action", "process": f"p{n}", "error": {"text": "no such file"}}
            for n, one in enumerate(QUESTIONS)
        ]
        assert self.call("/api/v1/events", self.node, asked)[0] == 202
        wait_for(lambda: len(self.call("/api/v1/incidents", self.operator)[1]["items"]) == len(QUESTIONS))
        failed = [
            {"v": 1, "id": str(UUID(int=n)), "type": "error", "process": "p", "error": {"text": f"problem {word}"}}
            for n, word in enumerate("abcdefg", 1)
        ]
        assert self.call("/api/v1/events", self.node, failed)[0] == 202
        wait_for(lambda: len(self.call("/api/v1/problems", self.operator)[1]["items"]) == 8)
        again = [
            {**failed[0], "id": str(UUID(int=100 + n)), "message": {"id": f"m{n // 3}"}} for n in range(24)
        ]  # three times the same is poison
        assert self.call("/api/v1/events", self.node, again)[0] == 202
        wait_for(lambda: len(self.call("/api/v1/dead-letters", self.operator)[1]["items"]) == 8)
        rule = {"name": "r", "condition": "process:nobody", "action": "ask", "reason": "to be found"}
        assert {self.call("/api/v1/rules", self.operator, rule)[0] for _ in range(8)} == {201}
        answer = {"action": "continue", "condition": "process:p1*", "reason": "x", "first": QUESTIONS[10]}
        assert {self.call("/api/v1/bulk-decisions", self.operator, answer)[0] for _ in range(8)} == {201}
        for one in (*QUESTIONS[:3], *QUESTIONS[4:7]):
            answered = self.call(f"/api/v1/incidents/{one}/decision", self.operator, {"action": "kill"})
            assert answered[0] == 200
        gone = QUESTIONS[3]
        assert self.call(f"/api/v1/incidents/{gone}/outcome", self.node, {"state": "withdrawn"})[0] == 202
        return self

    def document(self) -> dict[str, Any]:
        status, found = self.call("/api/v1/openapi.json", self.operator)
        assert status == 200
        return dict(found)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedProduct]:
    with pytest.MonkeyPatch.context() as patched:
        # Thousands of requests in a minute are what this is about; the rate has tests of its own.
        patched.setenv("STEWARD_NODE_RATE_PER_S", "0")
        running = PreparedProduct(tmp_path_factory.mktemp("openapi") / "data").prepare()
    yield running
    running.stop()


@SCHEMA.hook
def map_body(ctx: Any, value: Any) -> Any:
    """What the document says in words: how whole numbers are written, and that an outcome is the address's."""
    value = whole(value)
    outcome = ctx.operation.definition.raw["operationId"] == "postOutcome" and isinstance(value, dict)
    if outcome and is_uuid(value.get("incident")):
        del value["incident"]
    # To schemathesis whatever we did not offer breaks the format; most texts are conditions to us.
    if isinstance(value, dict) and isinstance(told := value.get("condition"), str) and told not in CONDITIONS:
        value["condition"] = "("
    return value


def is_uuid(value: Any) -> bool:
    try:
        return bool(UUID(value))
    except (ValueError, AttributeError, TypeError):
        return False


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


def test_every_address_is_in_the_document_and_nothing_else_is() -> None:
    addresses = {f"/api/v1/{one.pattern}" for one in urls.urlpatterns[:-1]}
    addresses |= {f"/{one.pattern}" for one in health_urls.urlpatterns}
    named = {re.sub("<.*?>", lambda one: "{id}" if "incident" in one[0] else "{number}", one) for one in addresses}
    assert named == set(SCHEMA.raw_schema["paths"])


def test_every_key_of_an_address_is_described() -> None:
    for path, described in SCHEMA.raw_schema["paths"].items():
        keys = [part for part in path.split("/") if part.startswith("{")]
        assert len(described.get("parameters", ())) == len(keys), path


def test_every_method_of_an_address_is_in_the_document(product: PreparedProduct) -> None:
    for path, methods in product.document()["paths"].items():
        address = product.http_url + path.replace("{id}", QUESTIONS[0]).replace("{number}", "1")
        request = urllib.request.Request(address, method="PATCH")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        allowed = {one.strip().lower() for one in refused.value.headers["Allow"].split(",")}
        assert refused.value.code == 405
        assert allowed - {"head"} == methods.keys() - {"parameters"}


def test_the_document_is_the_one_that_is_served_and_tells_this_installations_address(product: PreparedProduct) -> None:
    served = product.document()
    assert served["servers"] == [{"url": product.http_url}]
    assert served["components"] == json.loads(json.dumps(SCHEMA.raw_schema["components"]))


def test_limits_in_the_document_are_the_settings() -> None:
    limits = replace(Limits(), events_per_request=7, body_compressed_bytes=4711)
    told = json.dumps(document("http://x", "1", limits, example=""))
    assert '"maxItems": 7' in told
    assert "4711" in told


def test_every_field_of_an_answer_is_described_by_the_struct_that_it_is_made_of() -> None:
    found = schemas(Limits())
    listed = items.IncidentItem, items.ProblemItem, items.ProcessItem, items.NodeItem
    for shape in (*listed, items.RuleItem, messages.MessageOperation, common.RecordedDecision, common.EventsAccepted):
        assert set(found[shape.__name__]["properties"]) == set(shape.__struct_fields__)
    assert found["NodeItem"]["properties"]["clock_skew_s"]["description"]
    assert found["IncidentItem"]["properties"]["raised_at"]["format"] == "date-time"


def test_the_page_shows_all_of_it_without_script_and_sends_strangers_to_the_login(product: PreparedProduct) -> None:
    def get(**headers: str) -> tuple[int, str, Any]:
        request = urllib.request.Request(product.http_url + "/api/v1/docs", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as told:
                return told.status, told.read().decode(), told
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode(), exc

    status, page, told = get(Authorization=f"Bearer {product.operator}")
    assert status == 200
    assert "unsafe" not in told.headers["Content-Security-Policy"]
    for path, methods in product.document()["paths"].items():
        assert f"<code>{path}</code>" in page
        assert all(f'id="{one["operationId"]}"' in page for method, one in methods.items() if method != "parameters")
    assert f"{product.http_url}/api/v1/events" in page
    for shape in re.findall(r'href="#shape-(\w+)"', page):
        assert f'id="shape-{shape}"' in page
    assert get()[0] == 401
    assert get(Authorization="Bearer eku_x", Accept="text/html")[0] == 401
    assert get(Accept="text/html")[2].url.endswith("/login/?next=/api/v1/docs")


@pytest.mark.parametrize("name", ["postEvents", "postOutcome", "decide", "listNodes", "awaitDecision"])
def test_the_pages_commands_work_as_they_are(product: PreparedProduct, name: str) -> None:
    request = urllib.request.Request(product.http_url + "/api/v1/docs")
    request.add_header("Authorization", f"Bearer {product.operator}")
    with urllib.request.urlopen(request, timeout=10) as told:
        part = told.read().decode().split(f'id="{name}"')[1].split("</section>")[0]
    commands = [html.unescape(one) for one in re.findall(r'<pre class="data whole">(.*?)</pre>', part, re.DOTALL)]
    assert len(commands) == (2 if name == "postEvents" else 1)
    for command in commands:
        known = {"NODE_TOKEN": product.node, "STEWARD_TOKEN": product.operator, "INCIDENT": QUESTIONS[0]}
        done = subprocess.run(
            ["sh", "-c", command + " -o /dev/null -w '%{http_code}'"],
            env=os.environ | known, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        # The question was answered already: whoever decides comes second.
        assert done.stdout == {"postEvents": "202", "postOutcome": "202", "decide": "409"}.get(name, "200"), done


def test_a_blank_name_is_the_same_to_the_document_and_to_the_wire() -> None:
    pattern = re.compile(schemas(Limits())["Event"]["properties"]["process"]["pattern"])
    assert [hex(n) for n in range(0x110000) if bool(pattern.search(chr(n))) != bool(chr(n).strip())] == []


OPERATIONS: dict[str, Any] = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}


@pytest.mark.slow
@pytest.mark.timeout(600)  # hundreds of requests, on a machine that may be busy
@pytest.mark.parametrize("label", OPERATIONS)
def test_the_product_does_what_its_document_says(label: str, product: PreparedProduct) -> None:
    # Not by SCHEMA.parametrize: that makes the examples of all operations when tests are collected, which takes
    # 12 s of a processor in each of the processes that share the tests.
    load_all_checks()
    build_operation_test(
        config=SCHEMA.config, operation=OPERATIONS[label], test_func=obeys, given_kwargs={}, feedback=FeedbackSources()
    )(product=product)


@settings(max_examples=EXAMPLES, derandomize=not MANY, deadline=None, suppress_health_check=list(HealthCheck))
def obeys(case: Any, product: PreparedProduct) -> None:
    with requests.Session() as session:
        session.auth = Packed()
        operation = case.operation.definition.raw
        name, headers = operation["operationId"], token_for(operation["security"])
        told = case.call_and_validate(base_url=product.http_url, session=session, headers=headers, timeout=70)
    SEEN[name][told.status_code] += 1
    # A body is read by what it is: a Content-Type that nobody knows does not make its events bad.
    known = case.headers.get("Content-Type") in (None, JSON, NDJSON)
    body = case.meta and case.meta.components.get(ParameterLocation.BODY)
    bad = body and body.mode.is_negative and known
    if bad and name == "postEvents" and told.status_code == 202:
        assert told.json()["rejected"], (case.meta.phase, case.headers, case.body)


def test_it_has_met_what_matters() -> None:
    """Only where the test above has run: a document that nobody could use would pass it too."""
    print(sum(one.total() for one in SEEN.values()), json.dumps(SEEN))
    if SEEN:
        # A revision is hardly guessed, and a message is sent again where one failed: these are tried elsewhere.
        met = {200, 201, 202}
        changed = ("changeRule", "proposeBulkDecision", "approveBulkDecision", "approveCanary", "applyRest")
        changed += ("requeueMessage", "dropMessage", "deadLetterMessage", "requeueDeadLetter", "dropDeadLetter")
        acts = [f"{one}Problem" for one in ("unmute", "reopen", "split", "merge")]
        often = dict.fromkeys((*changed, "rejectBulkDecision", "resumeDeadlines", "actOnNode", *acts), met | {409})
        assert [name for name, statuses in SEEN.items() if not often.get(name, met) & statuses.keys()] == []
        assert {202, 400, 415} <= SEEN["postEvents"].keys()
        assert {200, 204, 404} <= SEEN["awaitDecision"].keys()
        assert {200, 400, 409} <= SEEN["decide"].keys()
