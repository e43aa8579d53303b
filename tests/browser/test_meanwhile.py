"""What a visitor does while an answer comes: it ends, and the page shows what was done."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import answers, drag_pad, send, short_answers, wait_for_words, wait_until_read

pytestmark = pytest.mark.browser

STORY = "Write a long story about the sea."


def begun(page: Page, words: int = 4) -> None:
    """A long answer is on its way."""
    short_answers(page, 200)
    send(page, STORY)
    wait_for_words(page, "toned", words)


def no_pills(page: Page) -> None:
    """Nothing lies over the two voices."""
    for voice in ("plain", "toned"):
        assert not page.locator(f"#voice-{voice} .error").is_visible()


@pytest.mark.parametrize("words", [1, 5])
def test_a_new_conversation_stays_new(visit, words):
    page = visit()
    begun(page, words)
    page.click("#new")
    page.wait_for_function("() => document.querySelectorAll(\"[data-testid='bot']\").length === 0")
    page.wait_for_timeout(3000)
    assert answers(page, "plain") == answers(page, "toned") == []
    expect(page.locator("#status")).to_contain_text("Ask something.")
    no_pills(page)


def test_a_point_that_is_moved_is_answered_at_once(visit):
    page = visit()
    begun(page)
    drag_pad(page, -0.8, -0.4)
    # All of the story would take half a minute; the few words of it are gone long before.
    page.wait_for_function(
        "() => { const last = document.querySelector(\"#voice-toned [data-testid='bot']\");"
        " return !last || last.innerText.trim().split(/\\s+/).length < 4; }",
        timeout=8_000,
    )
    wait_for_words(page, "toned", 3)
    page.click("#stop")
    wait_until_read(page)
    expect(page.locator("#status")).to_contain_text("valence -0.8")
    assert [page.locator(f"#voice-{voice} [data-testid='user']").count() for voice in ("plain", "toned")] == [1, 1]
    no_pills(page)


def test_stop_then_at_once_again_then_another_message(visit):
    page = visit()
    begun(page)
    page.click("#stop")
    page.click("#again")
    wait_for_words(page, "toned", 3)
    page.wait_for_function("() => document.querySelector('#status').innerText.includes('Answering')")
    short_answers(page)
    send(page, "What should I cook tonight?")  # it interrupts
    page.wait_for_function("() => document.querySelectorAll(\"#voice-plain [data-testid='user']\").length === 2")
    wait_until_read(page)
    expect(page.locator("#voice-toned")).to_contain_text("What should I cook tonight?")
    no_pills(page)


def test_blanks_and_a_look_at_the_emotions_change_nothing(visit):
    page = visit()
    short_answers(page)
    send(page, "How was your morning?")
    wait_until_read(page)
    before = answers(page, "toned")
    send(page, "   ")
    page.get_by_role("radio", name="Emotions").check()
    page.wait_for_timeout(1500)
    page.get_by_role("radio", name="Point").check()
    page.wait_for_timeout(1500)
    wait_until_read(page)
    assert answers(page, "toned") == before
    no_pills(page)


def test_an_error_is_told_and_does_not_lie_over_the_voices(visit):
    page = visit()
    page.click("#again")  # nothing has been said
    expect(page.locator(".toast-wrap")).to_contain_text("There is nothing to answer again.")
    page.wait_for_timeout(500)
    no_pills(page)
    send(page, "Hello.")  # and it goes on
    wait_for_words(page, "toned", 1)


def test_a_mood_leaves_the_point_to_be_taken_again(visit):
    page = visit()
    page.get_by_role("button", name="sadness", exact=True).click()
    expect(page.get_by_role("radio", name="Emotions")).to_be_checked()
    expect(page.get_by_label("number input for Strength of sadness")).to_be_visible()
    expect(page.locator(".em-idle #pad")).to_be_visible()
    drag_pad(page, 0.5, 0.5)
    expect(page.get_by_role("radio", name="Point")).to_be_checked()
    expect(page.get_by_label("number input for Strength of sadness")).to_be_hidden()
    expect(page.locator(".em-idle")).to_have_count(0)
