"""One Chromium for the browser tests of a process; one browser context, with one login, for those of a file."""

from collections.abc import Iterator

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.browser import chromium, log_in, new_context
from tests.support.product import Product


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A product of the file's own."""
    product = Product(tmp_path_factory.mktemp("browser") / "data").start()
    yield product
    product.stop()


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    """The administrator's, closed with the file. A new context costs 3 s of a processor, a page of it 1 s."""
    return new_context(browser, viewport={"width": 1280, "height": 800})


@pytest.fixture
def page(context: BrowserContext, running: Product) -> Iterator[Page]:
    """A page that is logged in and live. The next test's finds English and a link."""
    page = context.new_page()
    yield log_in(page, running)
    page.close()
    context.set_offline(False)
    context.clear_cookies(name=settings.LANGUAGE_COOKIE_NAME)


@pytest.fixture(scope="module", autouse=True)
def no_page_is_left_open(browser: Browser) -> Iterator[None]:
    """The pages of one file would go on looking for its product while the next file runs."""
    yield
    for context in browser.contexts:
        context.close()
