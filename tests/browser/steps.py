"""What a visitor does on the page, and what there is to see."""

from __future__ import annotations

from playwright.sync_api import Page, expect

DONE = "In tone:"


def answers(page: Page, voice: str) -> list[str]:
    """What a voice has said, answer after answer."""
    return page.locator(f"#voice-{voice} [data-testid='bot']").all_inner_texts()


def send(page: Page, message: str) -> None:
    page.fill("#message textarea", message)
    page.keyboard.press("Enter")


def wait_until_read(page: Page) -> None:
    """Both answers are finished, and what they say has been read."""
    page.wait_for_function(
        "() => { const line = document.querySelector('#status').innerText;"
        f" return line.startsWith({DONE!r}) && !line.includes('Reading'); }}"
    )


def wait_for_words(page: Page, voice: str, words: int) -> None:
    page.wait_for_function(
        "([voice, words]) => { const all = document.querySelectorAll(`#voice-${voice} [data-testid='bot']`);"
        " const last = all[all.length - 1];"
        " return last && last.innerText.trim().split(/\\s+/).length >= words; }",
        arg=[voice, words],
    )


def short_answers(page: Page, tokens: int = 20) -> None:
    """Answers of so many tokens, so that a test is over soon."""
    open_more(page)
    number = page.get_by_label("number input for Longest answer")
    for _ in range(5):  # the widgets are drawn once more just after they are opened, with what they were made with
        number.fill(str(tokens))
        number.press("Tab")
        page.wait_for_timeout(500)
        if number.input_value() == str(tokens):
            return
    raise AssertionError(f"The page does not take {tokens} tokens.")


def open_more(page: Page) -> None:
    if not page.get_by_label("number input for Longest answer").is_visible():
        page.get_by_role("button", name="Seed, temperature, length").click()


def value_of(page: Page, label: str) -> float:
    return float(page.get_by_label(f"number input for {label}").input_value())


def drag_pad(page: Page, valence: float, arousal: float) -> None:
    """The point, taken where it is and let go somewhere else."""
    plane = page.locator("#pad .em-pad-plane")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    unit = box["width"] / 2.4  # the plane shows 1.2 in each direction
    page.mouse.move(*middle)
    page.mouse.down()
    for share in (0.3, 0.6, 1.0):
        page.mouse.move(middle[0] + unit * valence * share, middle[1] - unit * arousal * share)
        page.wait_for_timeout(60)
    page.mouse.up()


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def no_sideways_scroll(page: Page) -> bool:
    return bool(page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"))
