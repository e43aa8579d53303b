"""axe-core on every part of the page: no serious violation in what is ours; Gradio's own are listed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.browser.steps import send, short_answers, tab, wait_until_read

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

GRADIO = {  # rule → the classes of Gradio's own elements that break it; nothing of ours has one of these
    "label-content-name-mismatch": ("upload-container",),  # its button says more than the name that it has
}


def violations(page: Page) -> list[dict]:
    page.add_script_tag(path=os.environ["AXE"])
    found = page.evaluate("async () => (await axe.run()).violations")
    return [one for one in found if one["impact"] in {"serious", "critical"}]


def ours(page: Page, name: str) -> list[str]:
    """Those that are not known to be Gradio's, which are printed."""
    found = []
    for one in violations(page):
        for node in one["nodes"]:
            where = " ".join(map(str, node["target"]))
            known = any(part in where or part in node["html"] for part in GRADIO.get(one["id"], ()))
            print(f"\n{name}: {one['id']} ({one['impact']}) {'Gradio: ' if known else ''}{where} {node['html'][:160]}")
            if not known:
                found.append(f"{name}: {one['id']} at {where}: {node['html'][:200]}")
    return found


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_nothing_serious(visit, scheme, width):
    page = visit(scheme=scheme, width=width)
    short_answers(page)
    send(page, "How was your morning?")
    wait_until_read(page)
    found = ours(page, "talk")
    for name in ("Why this word", "The same in Python"):
        tab(page, name)
        page.wait_for_timeout(300)
        found += ours(page, name)
    page.get_by_role("radio", name="Emotions").first.check()
    page.wait_for_timeout(300)
    found += ours(page, "emotions")
    tab(page, "Explore")
    page.wait_for_selector("#map .em-plane")
    for name in ("Map", "Five strengths", "Every tone", "Read a text"):
        tab(page, name)
        page.wait_for_timeout(300)
        found += ours(page, name)
    tab(page, "Bring your own")
    page.wait_for_timeout(300)
    found += ours(page, "bring")
    assert found == []
