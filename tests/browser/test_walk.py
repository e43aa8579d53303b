"""A visitor walks through the demo."""

from __future__ import annotations

import ast
import re
import time

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import started
from tests.browser.steps import (
    answers,
    drag_pad,
    no_sideways_scroll,
    send,
    short_answers,
    tab,
    value_of,
    wait_for_words,
    wait_until_read,
)

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> ![p](https://example.org/p.png) **bold**"


def test_the_page_is_usable_before_the_model_and_says_what_it_waits_for(visit, demo):
    """A server of its own, so that its start is seen; the other has done its loading."""
    expect(visit().locator("#waiting")).to_be_empty(timeout=120_000)
    fresh = started(demo.log.parent / "fresh")
    try:
        fresh.wait()
        page = visit(url=fresh.url)
        expect(page.locator("#message textarea")).to_be_enabled()
        print(f"\nusable after {time.monotonic() - fresh.started:.1f} s")
        expect(page.locator("#waiting")).to_contain_text("You can set a tone meanwhile.")
        drag_pad(page, -0.5, 0.5)
        page.wait_for_function("() => document.querySelector('#pad .em-pad-words').innerText.includes('unpleasant')")
        send(page, "Hello?")  # before there is a model; the answer comes when there is
        wait_for_words(page, "toned", 3)
        print(f"answering after {time.monotonic() - fresh.started:.1f} s")
        expect(page.locator("#waiting")).to_be_empty()
        page.close()  # before the server goes, or it complains
    finally:
        fresh.stop()


def test_a_tone_is_dragged_and_two_answers_stream_and_differ(visit):
    page = visit()
    drag_pad(page, -0.7, 0.5)
    expect(page.get_by_label("number input for Valence")).to_have_value("-0.7")
    expect(page.get_by_label("number input for Arousal")).to_have_value("0.5")
    begun = time.monotonic()
    send(page, "How was your morning?")
    wait_for_words(page, "toned", 1)
    print(f"\nfirst words after {time.monotonic() - begun:.1f} s")
    expect(page.locator("#message textarea")).to_have_value("")
    seen = set()
    while "Answering" in page.inner_text("#status") or "Thinking" in page.inner_text("#status"):
        seen.add((*answers(page, "plain"), *answers(page, "toned")))
        page.wait_for_timeout(100)
    assert len(seen) >= 5  # it grew while we looked
    wait_until_read(page)
    (plain,), (toned,) = answers(page, "plain"), answers(page, "toned")
    assert plain != toned
    assert len(plain) > 20
    assert len(toned) > 20
    expect(page.locator("#summary")).to_contain_text("nats a token in tone")
    expect(page.locator("#trace svg")).to_be_visible()


def test_moving_the_tone_answers_again_and_keeps_the_plain_answer(visit):
    page = visit()
    short_answers(page)
    send(page, "Tell me about the sea.")
    wait_until_read(page)
    before = answers(page, "plain"), answers(page, "toned")
    drag_pad(page, -0.8, -0.4)
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('-0.8')")
    wait_until_read(page)
    assert answers(page, "plain") == before[0]
    assert answers(page, "toned") != before[1]
    page.get_by_role("button", name="anger", exact=True).click()
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('anger')")
    wait_until_read(page)
    assert answers(page, "plain") == before[0]


def test_everything_goes_by_keyboard(visit):
    page = visit()
    short_answers(page)
    plane = page.locator("#pad .em-pad-plane")
    plane.focus()
    for key in ("Home", "ArrowRight", "ArrowRight", "Shift+ArrowUp"):
        page.keyboard.press(key)
    expect(plane).to_have_attribute("aria-valuetext", re.compile(r"^valence 0\.10, arousal 0\.20:"))
    expect(page.get_by_label("number input for Arousal")).to_have_value("0.2")
    slider = page.get_by_role("slider", name="Valence")
    slider.focus()
    before = value_of(page, "Valence")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert value_of(page, "Valence") == pytest.approx(before - 0.1)
    page.wait_for_function("() => document.querySelector('#pad .em-pad-plane').ariaValueText.includes('valence 0.0')")
    page.get_by_role("radio", name="Emotions").check()
    page.locator("#emotions-of-tone input").focus()
    for name in ("joy", "fear"):
        page.keyboard.type(name)
        page.keyboard.press("Enter")
    expect(page.get_by_label("number input for Strength of joy")).to_have_value("1")
    strength = page.get_by_role("slider", name="Strength of fear")
    strength.focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_label("number input for Strength of fear")).to_have_value("0.95")
    page.locator("#message textarea").focus()
    send(page, "Hello there.")
    wait_until_read(page)
    expect(page.locator("#status")).to_contain_text("joy +1 and fear +0.95")


def test_a_curve_goes_from_one_emotion_to_another(visit):
    page = visit()
    short_answers(page)
    page.get_by_role("button", name="calm → joy").click()
    expect(page.get_by_label("number input for Over")).to_be_visible()
    send(page, "How was your day?")
    wait_until_read(page)
    expect(page.locator("#status")).to_contain_text("calm → joy over 60 tokens")


def test_stop_ends_the_answer_and_frees_the_model(visit):
    page, other = visit(), visit()
    short_answers(page, 200)
    send(page, "Write a long story about the sea.")
    wait_for_words(page, "toned", 4)
    page.click("#stop")
    page.wait_for_function("() => !document.querySelector('#status').innerText.includes('Answering')")
    page.wait_for_timeout(1000)
    left = answers(page, "toned")
    page.wait_for_timeout(3000)
    assert answers(page, "toned") == left
    assert len(left[0].split()) < 80
    short_answers(other)
    send(other, "How was your morning?")
    wait_for_words(other, "toned", 2)


def test_closing_the_tab_frees_the_model(visit):
    page, other = visit(), visit()
    short_answers(page, 200)
    short_answers(other)
    send(page, "Write a long story about a mountain.")
    wait_for_words(page, "toned", 4)
    page.close()
    begun = time.monotonic()
    send(other, "How was your morning?")
    wait_for_words(other, "toned", 2)
    print(f"\nthe next visitor was answered after {time.monotonic() - begun:.1f} s")


def test_again_edit_retry_and_new(visit):
    page = visit()
    short_answers(page)
    send(page, "How was your morning?")
    wait_until_read(page)
    first = answers(page, "plain")
    page.click("#again")
    page.wait_for_function(
        "before => document.querySelector(\"#voice-plain [data-testid='bot']\")?.innerText !== before", arg=first[0]
    )
    wait_until_read(page)
    assert answers(page, "plain") != first
    send(page, "And your evening?")
    page.wait_for_function("() => document.querySelectorAll(\"#voice-plain [data-testid='bot']\").length === 2")
    wait_until_read(page)
    page.locator("#voice-plain").get_by_label("Edit").first.click()
    box = page.locator("#voice-plain textarea")
    box.fill("How was your night?")
    page.locator("#voice-plain").get_by_label("Submit").click()
    page.wait_for_function("() => document.querySelectorAll(\"#voice-toned [data-testid='bot']\").length === 1")
    wait_until_read(page)
    expect(page.locator("#voice-toned")).to_contain_text("How was your night?")
    expect(page.locator("#voice-toned")).not_to_contain_text("evening")
    page.click("#new")
    page.wait_for_function("() => document.querySelectorAll(\"[data-testid='bot']\").length === 0")


def test_words_are_read_one_by_one_and_explained(visit):
    page = visit()
    short_answers(page)
    send(page, "How was your morning?")
    wait_until_read(page)
    token = page.locator("#strip-toned .em-token[data-scored]").nth(2)
    token.hover()
    expect(token.locator(".em-note")).to_be_visible()
    page.mouse.move(0, 0)
    page.locator("#strip-toned .em-token[data-scored][tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    focused = page.locator("#strip-toned .em-token:focus .em-note")
    expect(focused).to_be_visible()
    assert any(character.isdigit() for character in focused.inner_text())
    page.mouse.click(5, 5)  # the focus goes elsewhere
    strip = page.locator("#strip-toned .em-strip").inner_text()
    page.locator("#tint input").click()
    page.locator("#tint input").fill("joy")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#strip-toned .em-key').innerText.includes('joy')")
    assert page.locator("#strip-toned .em-strip").inner_text() == strip
    page.locator("#strip-toned summary").click()
    assert page.locator("#strip-toned tbody tr").count() >= 10
    tab(page, "Why this word")
    expect(page.locator("#why tbody tr").first).to_contain_text("%")
    tab(page, "The same in Python")
    code = page.locator("#code .cm-content").inner_text()
    call = ast.parse(code).body[-2].value
    options = {one.arg: ast.literal_eval(one.value) for one in call.keywords if not isinstance(one.value, ast.Call)}
    assert options["max_new_tokens"] == 20
    assert options["seed"] == int(page.get_by_label("Seed", exact=True).input_value())
    assert "recipe" not in options  # the best way, as chat takes it
    assert ast.literal_eval(call.args[0]) == "How was your morning?"


def test_explore(visit):
    page = visit()
    tab(page, "Explore")
    expect(page.locator("#map .em-plane")).to_have_count(2, timeout=30_000)
    expect(page.locator("#map")).to_contain_text("RSA")
    tab(page, "Five strengths")
    page.click("#five")
    expect(page.locator("#strengths .em-card")).to_have_count(5, timeout=120_000)
    tab(page, "Every tone")
    page.click("#every")
    expect(page.locator("#tones .em-card")).to_have_count(34, timeout=240_000)
    tab(page, "Read a text")
    page.fill("#text textarea", "What a wonderful day! " + HOSTILE)
    page.click("#read")
    tokens = page.locator("#read-words .em-token[data-scored]")
    expect(tokens.filter(has_text="</").first).to_be_visible(timeout=60_000)
    assert page.locator("#read-words img").count() == 0
    page.locator("#read-tint input").click()
    page.locator("#read-tint input").fill("joy")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#read-words .em-key').innerText.includes('joy')")


def test_bad_vectors_are_refused_in_words(visit, tmp_path):
    page = visit()
    bad = tmp_path / "<b>bad.safetensors"
    bad.write_bytes(b"\xff" * 100)
    tab(page, "Bring your own")
    page.set_input_files("#vector-file input[type=file]", bad)
    page.wait_for_selector("#vector-file .file-preview, #vector-file .file-name, #vector-file table")
    page.click("#load")
    said = page.locator("#bring-status [role=alert]")
    expect(said).to_be_visible()
    assert "safetensors" in said.inner_text()
    expect(page.locator("#in-use")).to_contain_text("comes with emosteer")
    page.fill("#repository input, #repository textarea", "nobody/nothing")
    page.fill("#model input, #model textarea", "../../etc")
    page.locator("#vector-file").get_by_label("Clear").or_(
        page.locator("#vector-file").get_by_label("Remove")
    ).first.click()
    page.click("#load")
    page.wait_for_function("() => document.querySelector('#bring-status').innerText.includes('etc')")


def test_what_is_written_is_text(visit):
    page = visit()
    short_answers(page)
    fired = []
    page.on("dialog", lambda dialog: (fired.append(dialog.message), dialog.dismiss()))
    send(page, HOSTILE)
    wait_until_read(page)
    assert fired == []
    for voice in ("plain", "toned"):
        assert "<img src=x onerror=alert(1)>" in page.inner_text(f"#voice-{voice}")
        assert page.locator(f"#voice-{voice} [data-testid='user'] img").count() == 0
    tab(page, "The same in Python")
    assert "onerror" in page.locator("#code .cm-content").inner_text()


def test_two_visitors_do_not_see_each_other(visit):
    one, other = visit(), visit()
    for page, mood, message in ((one, "joy", "I am one."), (other, "sadness", "I am the other.")):
        short_answers(page)
        page.get_by_role("button", name=mood, exact=True).click()
        send(page, message)
    for page in (one, other):
        wait_until_read(page)
    assert "other" not in one.inner_text("#voice-toned [data-testid='user']")
    assert "one" not in other.inner_text("#voice-toned [data-testid='user']")
    expect(one.locator("#status")).to_contain_text("joy")
    expect(other.locator("#status")).to_contain_text("sadness")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow(visit, scheme):
    page: Page = visit(width=390, height=844, scheme=scheme)
    short_answers(page)
    drag_pad(page, 0.2, -0.7)
    send(page, "Hello.")
    wait_until_read(page)
    assert no_sideways_scroll(page)
    for name in ("Explore", "Bring your own"):
        tab(page, name)
        page.wait_for_timeout(300)
        assert no_sideways_scroll(page), name
