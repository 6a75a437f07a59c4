"""Events as a sender submits them over HTTP, and the incidents that become of them."""

import json
import urllib.request
import uuid
from typing import Any

from tests.support.product import Product


def event(**fields: object) -> dict[str, Any]:
    """A complete error event with an id of its own; ``fields`` replace or add to it."""
    return {"v": 1, "id": str(uuid.uuid4()), "type": "error", "process": "p", "error": {"text": "no"}, **fields}


def post(product: Product, node: dict[str, str], *events: dict[str, Any]) -> None:
    """Submit the events as the node."""
    request = urllib.request.Request(
        product.http_url + "/api/v1/events",
        data=json.dumps(events).encode(),
        headers={"Authorization": f"Bearer {node['token']}", "Content-Type": "application/json"},
    )
    assert urllib.request.urlopen(request).status == 202


def incident_of(product: Product, token: str, incident: str) -> dict[str, Any]:
    """The incident as the API lists it; empty where it is not there yet."""
    _, found = product.call("/api/v1/incidents?limit=1000", token)
    return next((one for one in found["items"] if one["id"] == incident), {})
