"""What tests do in a real Chromium: start it, log in to the console."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.product import CHROMIUM, Product
from tests.support.waiting import PATIENCE_S

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A started Chromium whose pages are waited for as long as everything else."""
    assert CHROMIUM, "Chromium is needed: apt-get install chromium-headless-shell"
    expect.set_options(timeout=PATIENCE_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


def new_context(browser: Browser, **options: Any) -> BrowserContext:
    """A person's browser: no cookies yet, and the patience of ``chromium``."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_S * 1000)
    return context


def log_in(page: Page, product: Product) -> Page:
    """Open the start page as the administrator, who logs in unless the context has; returns it when it is live."""
    page.goto(product.http_url + "/")
    if "/login/" in page.url:
        page.fill("[name=username]", "admin")
        page.fill("[name=password]", product.password)
        page.press("[name=password]", "Enter")
    expect(page.locator("[data-connection=live]")).to_be_visible()
    return page
