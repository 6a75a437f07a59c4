"""A product with something behind every address of its OpenAPI document."""

from typing import Any
from uuid import UUID

import steward_site.urls  # noqa: F401 - with the operations of other packages
from errorkernel.domain.ids import uuid7
from errorkernel.platform import conf
from errorkernel.web.api.openapi.document import document
from errorkernel.web.api.openapi.page import product_version
from tests.support.product import Product
from tests.support.waiting import wait_for

INCIDENTS = [str(uuid7()) for _ in range(12)]
DOCUMENT: dict[str, Any] = document("http://127.0.0.1", product_version(), conf.get().limits, example=str(uuid7()))
OPERATIONS = [
    f"{method.upper()} {path}"
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
    if method != "parameters"
]
READS = [label for label in OPERATIONS if label.startswith("GET ")]
CHANGES_OF_PROBLEMS = [
    label for label in OPERATIONS if label not in READS and label.split("/")[3] in ("events", "incidents", "problems")
]
OTHER_CHANGES = [label for label in OPERATIONS if label not in (*READS, *CHANGES_OF_PROBLEMS)]
# What the document calls them → the tokens of the running product.
TOKENS: dict[str, str] = {}


class PreparedProduct(Product):
    """With a node and an operator, and with questions: open, answered and withdrawn ones."""

    def prepare(self) -> "PreparedProduct":
        self.start()
        self.node, self.operator = self.add_node("ship1")["token"], self.token()
        TOKENS.update(nodeToken=self.node, operatorToken=self.operator)
        asked = [
            {"v": 1, "id": one, "type": "action", "process": f"p{n}", "error": {"text": "no such file"}}
            for n, one in enumerate(INCIDENTS)
        ]
        assert self.call("/api/v1/events", self.node, asked)[0] == 202
        wait_for(lambda: len(self.call("/api/v1/incidents", self.operator)[1]["items"]) == len(INCIDENTS))
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
        answer = {"action": "continue", "condition": "process:p1*", "reason": "x", "first": INCIDENTS[10]}
        assert {self.call("/api/v1/bulk-decisions", self.operator, answer)[0] for _ in range(8)} == {201}
        for one in INCIDENTS[:-2:2]:  # in turn with pending ones
            answered = self.call(f"/api/v1/incidents/{one}/decision", self.operator, {"action": "kill"})
            assert answered[0] == 200
        gone = INCIDENTS[3]
        assert self.call(f"/api/v1/incidents/{gone}/outcome", self.node, {"state": "withdrawn"})[0] == 202
        return self

    def document(self) -> dict[str, Any]:
        status, found = self.call("/api/v1/openapi.json", self.operator)
        assert status == 200
        return dict(found)
