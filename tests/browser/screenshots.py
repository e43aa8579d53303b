"""The pictures of README and docs, made by the demo itself: `make screenshots`."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import CHROMIUM, QUIET, started
from tests.browser.steps import send, tab, wait_until_read

OUTPUT = Path("demo/screenshots")
COLOURS = 256  # of a palette: small files, and the tints are still told apart


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        demo = started(Path(scratch) / "log")
        demo.wait()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            walk(opened(browser, demo.url))
        finally:
            browser.close()
            demo.stop()


def opened(browser, url: str) -> Page:
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, color_scheme="light", reduced_motion="reduce"
    )
    context.set_default_timeout(180_000)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#message textarea")
    return page


def walk(page: Page) -> None:
    send(page, "How was your morning?")
    wait_until_read(page)
    keep(page, "talk")
    tab(page, "Why this word")
    page.wait_for_timeout(300)
    page.locator("#why").scroll_into_view_if_needed()
    keep(page, "why", "#why")
    tab(page, "Explore")
    page.wait_for_selector("#map .em-plane")
    keep(page, "map", "#map")
    tab(page, "Five strengths")
    page.click("#five")
    page.wait_for_selector("#strengths .em-card")
    page.wait_for_timeout(500)
    keep(page, "strengths", "#strengths")


def keep(page: Page, name: str, part: str | None = None) -> None:
    """A picture with few colours, of the whole page or of a part."""
    page.mouse.move(0, 0)
    options = {"animations": "disabled", "caret": "hide"}
    data = page.locator(part).screenshot(**options) if part else page.screenshot(full_page=True, **options)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    OUTPUT.mkdir(exist_ok=True)
    file = OUTPUT / f"{name}.png"
    few = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)  # small areas too
    few.save(file, optimize=True)
    print(f"{file}: {file.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
