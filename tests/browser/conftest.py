"""One Chromium for the browser tests that follow each other in a process."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import chromium


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def no_page_is_left_open(browser: Browser) -> Iterator[None]:
    """The pages of one file would go on looking for its product while the next file runs."""
    yield
    for context in browser.contexts:
        context.close()
