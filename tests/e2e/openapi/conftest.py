"""One product for the tests of a file, with something behind every address of its OpenAPI document."""

from collections.abc import Iterator

import pytest

from tests.support.documented_product import PreparedProduct


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedProduct]:
    with pytest.MonkeyPatch.context() as patched:
        # Thousands of requests in a minute are what this is about; the rate has tests of its own.
        patched.setenv("STEWARD_NODE_RATE_PER_S", "0")
        running = PreparedProduct(tmp_path_factory.mktemp("openapi") / "data").prepare()
    yield running
    running.stop()
