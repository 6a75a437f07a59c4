"""The OpenAPI document is complete and correct, and so is the page that is made of it."""

import html
import http.client
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from typing import Any

import pytest

import steward_site.urls  # noqa: F401 - first: it registers the operations of other packages
from errorkernel.domain.limits import Limits
from errorkernel.web.api import urls
from errorkernel.web.api.openapi.document import document
from errorkernel.web.api.openapi.schemas import schemas
from errorkernel.web.health import urls as health_urls
from errorkernel.web.schemas import common, items, messages
from tests.support.documented_product import DOCUMENT, INCIDENTS, PreparedProduct
from tests.support.waiting import PATIENCE_S

METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}


def test_every_address_is_in_the_document_and_nothing_else_is() -> None:
    addresses = {f"/api/v1/{one.pattern}" for one in urls.urlpatterns[:-1]}
    addresses |= {f"/{one.pattern}" for one in health_urls.urlpatterns}
    named = {re.sub("<.*?>", lambda one: "{number}" if "number" in one[0] else "{id}", one) for one in addresses}
    assert named == set(DOCUMENT["paths"])


def test_every_field_is_described_and_none_has_a_default() -> None:
    for name, schema in schemas(Limits()).items():
        for field, part in schema.get("properties", {}).items():
            assert part.get("description"), f"{name}.{field}: add it to errorkernel/web/api/openapi/descriptions.py"
            assert "default" not in part, f"{name}.{field}"


def test_every_key_of_an_address_is_described() -> None:
    for path, described in DOCUMENT["paths"].items():
        keys = [part for part in path.split("/") if part.startswith("{")]
        assert len(described.get("parameters", ())) == len(keys), path


def test_every_method_of_an_address_is_in_the_document(product: PreparedProduct) -> None:
    place = urllib.parse.urlsplit(product.http_url)
    connection = http.client.HTTPConnection(place.netloc, timeout=PATIENCE_S)
    for path, described in product.document()["paths"].items():
        methods = {one.upper() for one in described.keys() - {"parameters"}}
        address = place.path + path.replace("{id}", INCIDENTS[0]).replace("{number}", "1")
        for method in METHODS - methods - ({"HEAD"} if "GET" in methods else set()):
            connection.request(method, address)
            with connection.getresponse() as refused:
                allowed = {one.strip() for one in refused.headers["Allow"].split(",")}
                assert (refused.status, allowed - {"HEAD"}) == (405, methods), f"{method} {path}"
                refused.read()
    connection.close()


def test_the_document_is_the_one_that_is_served_and_tells_this_installations_address(product: PreparedProduct) -> None:
    served = product.document()
    assert served["servers"] == [{"url": product.http_url}]
    assert served["components"] == json.loads(json.dumps(DOCUMENT["components"]))


def test_the_document_is_valid(product: PreparedProduct) -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # its import takes part of a second, in every process

    assert [error.message for error in OpenAPIV31SpecValidator(product.document()).iter_errors()] == []


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
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as told:
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
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as told:
        part = told.read().decode().split(f'id="{name}"')[1].split("</section>")[0]
    commands = [html.unescape(one) for one in re.findall(r'<pre class="data whole">(.*?)</pre>', part, re.DOTALL)]
    assert len(commands) == (2 if name == "postEvents" else 1)
    for command in commands:
        known = {"NODE_TOKEN": product.node, "STEWARD_TOKEN": product.operator, "INCIDENT": INCIDENTS[0]}
        done = subprocess.run(
            ["sh", "-c", command + " -o /dev/null -w '%{http_code}'"],
            env=os.environ | known, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        # The incident was decided already, by the same person: a retry.
        assert done.stdout == {"postEvents": "202", "postOutcome": "202", "decide": "200"}.get(name, "200"), done


def test_a_blank_name_is_the_same_to_the_document_and_to_the_wire() -> None:
    pattern = re.compile(schemas(Limits())["Event"]["properties"]["process"]["pattern"])
    assert [hex(n) for n in range(0x110000) if bool(pattern.search(chr(n))) != bool(chr(n).strip())] == []
