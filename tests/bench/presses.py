"""Whether a press is lost in a storm: ``python -m tests.bench.presses [--seconds 60] [--rate 2000]``.

Blocks 10,000 processes on 40 problems (``--incidents``), then sends events over NATS at the rate while Chromium shows
the triage page, and presses the first decide button 100 times: Continue, Undo, Continue … Fails where a press does not
arrive, where the focus leaves its field, where a decision is sent although all were undone, or where the document grows
beyond its bound.
"""

import argparse
import sys
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.bench.browser import send
from tests.support.blocked_fleet import NODES, block
from tests.support.browser import log_in
from tests.support.product import CHROMIUM, Product
from tests.support.waiting import wait_for

PRESSES = 100
PROBLEMS = 40
ELEMENTS_MAX = 15_000
"""40 rows of 100 elements, 500 events of 12, and the frame."""
COUNT = """() => {
  window.presses = 0;
  const count = (event) => { if (event.target.closest("[name=action]")) window.presses += 1; };
  document.addEventListener("click", count, true);
}"""
ELEMENTS = "document.getElementsByTagName('*').length"


def fill(product: Product, incidents: int) -> None:
    """Block so many processes and wait until all are stored."""
    nodes = [product.add_node(name) for name in NODES]
    for problem in range(PROBLEMS):
        kind = f"Cause{'x' * problem}"
        block(product, nodes, kind=kind, process=f"worker-{problem}", count=incidents // PROBLEMS)
    total = incidents // PROBLEMS * PROBLEMS
    token = product.token()
    wait_for(lambda: product.call("/api/v1/incidents?state=open&limit=1&total=true", token)[1].get("total") == total)


def press(page: Page, seconds: float) -> list[str]:
    """Press for so long; returns what is wrong."""
    posted: list[str] = []
    page.on("request", lambda sent: posted.append(sent.url) if sent.method == "POST" else None)
    page.evaluate(COUNT)
    button = page.locator("[data-group] button.continue").first
    box = button.bounding_box()
    assert box
    elements = 0
    for number in range(PRESSES):
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(seconds * 1000 / PRESSES)
        elements = max(elements, page.evaluate(ELEMENTS))
        if number == PRESSES // 2:
            print(f"{number} presses, {elements:,} elements", flush=True)
    arrived, moved = page.evaluate("window.presses"), button.bounding_box() != box
    field = page.locator("[data-group] [name=reason]").first
    field.focus()
    page.keyboard.type("typed in the storm", delay=100)
    has_focus = field.evaluate("field => field === document.activeElement && field.value === 'typed in the storm'")
    print(f"{arrived} of {PRESSES} presses arrived, {len(posted)} requests, at most {elements:,} elements")
    return [
        words
        for words, is_wrong in {
            f"{PRESSES - arrived} presses were lost": arrived != PRESSES,
            "the button moved": moved,
            f"{len(posted)} decisions were sent": bool(posted),
            "the focus or the text was lost": not has_focus,
            "the document grew beyond its bound": elements > ELEMENTS_MAX,
        }.items()
        if is_wrong
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--incidents", type=int, default=10_000)
    given = parser.parse_args()
    product = Product(Path(tempfile.mkdtemp()) / "data").start()
    stop = threading.Event()
    sender = threading.Thread(target=send, args=(product, product.add_node("bench"), given.rate, stop), daemon=True)
    try:
        fill(product, given.incidents)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = log_in(browser.new_page(viewport={"width": 1280, "height": 800}), product)
            sender.start()
            wrong = press(page, given.seconds)
            browser.close()
    finally:
        stop.set()
        if sender.is_alive():
            sender.join(10)
        product.stop()
    print("\n".join(wrong) or "No press was lost.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
