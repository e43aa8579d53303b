"""The page as it is put together: who may call what, what waits for the model, what is shown as text."""

from __future__ import annotations

import re
import time
from pathlib import Path

import gradio as gr
import pytest
from emosteer_demo import build, page
from emosteer_demo.figures.pad import Pad
from emosteer_demo.studio import Studio

from tests.demo import laid_out

PUBLIC = {"make_reply", "two_voices", "read_emotion", "list_emotions"}
RUN = {  # the model
    *("make_reply", "two_voices", "read_emotion"),
    *("send", "again", "retone", "edited", "fill"),
    *("read_map", "strengths", "tones", "read"),
}


@pytest.fixture(scope="module")
def built():
    """With the embedded pair, which is not loaded."""
    return laid_out(build)


def name_of(event) -> str | None:
    return getattr(event.fn, "__name__", None)


def test_four_endpoints_are_public_and_nothing_else(built):
    public = [event.api_name for event in built.page.fns.values() if event.api_visibility == "public"]
    assert sorted(public) == sorted(PUBLIC)
    assert {event.api_visibility for event in built.page.fns.values()} == {"public", "private"}
    api = laid_out(built.page.get_api_info)
    assert set(api["named_endpoints"]) == {f"/{name}" for name in PUBLIC}
    assert api["unnamed_endpoints"] == {}


def test_what_runs_the_model_waits_in_one_line(built):
    queued = {name_of(event) for event in built.page.fns.values() if event.concurrency_id == "model"}
    assert queued == RUN
    for event in built.page.fns.values():
        if name_of(event) in RUN:
            assert (event.concurrency_id, event.concurrency_limit, event.queue) == ("model", 1, True), name_of(event)


def test_talk_says_what_it_speaks_with_also_when_that_changes(built):
    (line,) = (block for block in built.page.blocks.values() if block.elem_id == "speaking")
    assert "comes with emosteer" in line.value
    assert [name_of(event) for event in built.page.fns.values() if line in event.outputs] == ["in_use"]


def test_nothing_that_changes_is_markdown(built):
    changing = {id(block) for event in built.page.fns.values() for block in event.outputs}
    blocks = list(built.page.blocks.values())
    assert not [block for block in blocks if isinstance(block, gr.Markdown) and id(block) in changing]
    windows = [block for block in blocks if isinstance(block, gr.Chatbot)]
    assert [window.elem_id for window in windows] == ["voice-plain", "voice-toned"]
    for window in windows:
        assert (window.render_markdown, window.sanitize_html, window.latex_delimiters) == (False, True, [])


def test_html_is_never_filled_into_a_template(built):
    """But for the pad's own, which has nothing to fill in."""
    for block in built.page.blocks.values():
        if isinstance(block, gr.HTML) and not isinstance(block, Pad):
            assert block.html_template == "${value}"


def test_nothing_is_fetched_from_outside(built, monkeypatch):
    given = {}
    opened = []

    def launched(**options):
        given.update(options)
        assert not opened  # the page comes before the model
        return None, "http://here/", None

    monkeypatch.setattr(built.page, "launch", launched)
    monkeypatch.setattr(Studio, "open", lambda self: opened.append(self))  # noqa: PLW0108  # a method, not a built-in
    monkeypatch.setattr(page, "PATIENCE", 0.0)
    assert built.launch(server_port=7) == "http://here/"
    for _ in range(500):
        if not opened:
            time.sleep(0.01)
    assert opened == [built.studio]  # without a visitor too
    assert given.pop("server_port") == 7
    theme = given["theme"]
    assert theme._stylesheets == []
    assert not re.search(r"@import|url\(.?http", theme._get_theme_css())
    for path in given["css_paths"]:
        assert not re.search(r"url\(|@import|https?:", Path(path).read_text(encoding="utf-8"))
    assert given.keys() == {"theme", "css_paths", "max_file_size", "ssr_mode", "footer_links", "prevent_thread_lock"}
    assert given["ssr_mode"] is False
    assert built.page.analytics_enabled is False
    shown = [str(block.get_config()) for block in built.page.blocks.values()]
    assert not [one for one in shown if re.search(r"(src|href)=.?https?:|url\(.?https?:", one)]
