"""Schemathesis finds no event, decision or change of a problem that is answered unlike the document says."""

import pytest

from tests.support.documented_product import CHANGES_OF_PROBLEMS, PreparedProduct

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # hundreds of requests, on a machine that may be busy


@pytest.mark.parametrize("label", CHANGES_OF_PROBLEMS)
def test_the_product_does_what_its_document_says(label: str, product: PreparedProduct) -> None:
    from tests.support import openapi_probe

    openapi_probe.obeys_document(label, product)


def test_the_requests_were_answered_in_all_ways() -> None:
    from tests.support.openapi_probe import assert_answered

    assert_answered({"postEvents": {202, 400, 415}, "decide": {200, 400, 409}})
