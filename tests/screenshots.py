"""Takes the README's screenshot from the running product: ``python -m tests.screenshots docs``."""

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.conftest import CHROMIUM
from tests.running import Running

SETTLE_S = 12


def main(target: Path) -> None:
    product = Running(Path(tempfile.mkdtemp()) / "data", "--demo").start()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(product.http_url + "/login/")
            page.fill("[name=username]", "admin")
            page.fill("[name=password]", product.password)
            page.press("[name=password]", "Enter")
            time.sleep(SETTLE_S)
            page.screenshot(path=target / "live.png")
            browser.close()
    finally:
        product.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
