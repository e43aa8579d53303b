"""The demo as a visitor meets it: a server started as a user starts it, and headless Chromium.

Whatever a page says to its console, and every request that it makes, is kept; after each test there may be no error
among the one and no other host among the other. Pictures of every test are left in `$BROWSER_OUTPUT`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = (  # nothing of its own to any host, and what a container without a display or a sandbox needs
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
expect.set_options(timeout=30_000)  # machines are shared
OUTPUT = Path(os.environ.get("BROWSER_OUTPUT", ".venv/browser-output"))


@dataclass
class Demo:
    """A running demo: where it is, when its process was started, and what it has said."""

    url: str
    started: float
    process: subprocess.Popen
    log: Path

    def wait(self) -> None:
        """Until it says where it is."""
        while "The demo is at" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def started(log: Path, *options: str) -> Demo:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    begun = time.monotonic()
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "emosteer", "demo", "--port", str(port), *options],
            stdout=said,
            stderr=said,
            env=environment,
        )
    return Demo(f"http://127.0.0.1:{port}", begun, process, log)


@dataclass
class Heard:
    """What a page has said and asked for."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def listen(self, page: Page) -> None:
        page.on("console", lambda one: self.errors.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda one: self._asked(one.url))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and parts.hostname != "127.0.0.1":
            self.outside.append(url)


@pytest.fixture(scope="session")
def browser():
    if not Path(CHROMIUM).exists():
        pytest.fail(f"There is no {CHROMIUM}: apt-get install chromium, or name another in $CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    running = started(tmp_path_factory.mktemp("demo") / "log")
    running.wait()
    yield running
    running.stop()
    assert "Traceback" not in running.log.read_text()


@pytest.fixture
def visit(browser: Browser, demo: Demo, request):
    """Opens the page, as often as it is called: each time a visitor of its own."""
    heard, contexts, pages = Heard(), [], []

    def open_page(*, width: int = 1280, height: int = 900, scheme: str = "light", url: str = demo.url) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(90_000)  # machines are shared
        contexts.append(context)
        page = context.new_page()
        pages.append(page)
        heard.listen(page)
        page.goto(url)
        page.wait_for_selector("#message textarea")
        return page

    yield open_page
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for i, page in enumerate(pages):
        if not page.is_closed():
            page.screenshot(path=OUTPUT / f"{request.node.name.removeprefix('test_')}-{i}.png", full_page=True)
    for context in contexts:
        context.close()
    assert heard.errors == []
    assert heard.outside == []
