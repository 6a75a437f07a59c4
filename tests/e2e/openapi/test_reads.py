"""Schemathesis finds no request to a GET operation that is answered unlike the OpenAPI document says."""

import pytest

from tests.support.documented_product import READS, PreparedProduct

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # hundreds of requests, on a machine that may be busy


@pytest.mark.parametrize("label", READS)
def test_the_product_does_what_its_document_says(label: str, product: PreparedProduct) -> None:
    from tests.support import openapi_probe

    openapi_probe.obeys_document(label, product)


def test_the_requests_were_answered_in_all_ways() -> None:
    from tests.support.openapi_probe import assert_answered

    assert_answered({"awaitDecision": {200, 204, 404}})
