"""The first tab: one question, two voices."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from emosteer.errors import EmosteerError, InputError
from emosteer_demo.bring import in_use
from emosteer_demo.controls import controls, renamed, sampling_of, setting_of
from emosteer_demo.figures.circumplex import trace
from emosteer_demo.readings import path
from emosteer_demo.replies import reply
from emosteer_demo.see import cleared, see
from emosteer_demo.state import VOICES, Conversation, Turn
from emosteer_demo.studio import Pair, Studio, on_circumplex, places_of
from emosteer_demo.told import FIGURE, MODEL, SWIFT, bounded, line, told

LONGEST_MESSAGE = 2000
PACE = 0.12  # seconds between two pictures of an answer that grows
TRACE_PACE = 2.0  # and of its trace: reading it takes a forward pass of each voice
STARTERS = ("How was your morning?", "Tell me about the sea.", "What should I cook tonight?", "I lost my keys again.")
EXPLAINED = """\
**Plain: the model as it is. In tone: the same model with feeling.** Move the point or press a mood, then ask something.
Nothing is written into your message: what the words for an emotion have in common is added to what the model thinks.
"""

__all__ = ["Talk", "talk"]


class Talk:
    """Answers visitors' messages in two voices. Everything that is a visitor's own comes in and goes out again.

    Args:
        studio: The models.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def send(self, message: str, pair: Pair, said: Conversation, *widgets: Any) -> Iterator[tuple[Any, ...]]:
        """Answer a new message."""
        yield from self._answer(pair, said, said, _turn(message, widgets))

    def again(self, pair: Pair, said: Conversation, *widgets: Any) -> Iterator[tuple[Any, ...]]:
        """Answer the last message in other words: by the next seed."""
        if said.last is None:
            raise InputError("There is nothing to answer again.", "Ask something first.")
        turn = _turn(said.last.message, widgets)
        turn = replace(turn, sampling=replace(turn.sampling, seed=said.last.sampling.seed + 1))
        yield from self._answer(pair, said, said.before(len(said.turns) - 1), turn)

    def retone(self, wanted: bool, pair: Pair, said: Conversation, *widgets: Any) -> Iterator[tuple[Any, ...]]:
        """Answer the last message in the tone that is set now: the plain answer stays, and so does the seed."""
        last = said.last
        setting = setting_of(*widgets[:-3])
        if not wanted or last is None or setting == last.setting:
            return
        kept = Turn(last.message, setting, last.sampling, {"plain": last.answers["plain"], "toned": ""})
        yield from self._answer(pair, said, said.before(len(said.turns) - 1), kept)

    def edited(self, edit: gr.EditData, pair: Pair, said: Conversation, *widgets: Any) -> Iterator[tuple[Any, ...]]:
        """Answer a message that was changed; what came after it is gone."""
        voice = str(getattr(edit.target, "elem_id", "")).removeprefix("voice-")
        turn = said.turn_at(voice, edit.index)
        message = html.unescape(edit.value) if isinstance(edit.value, str) else ""
        yield from self._answer(pair, said, said.before(turn), _turn(message, widgets))

    def _answer(self, pair: Pair, said: Conversation, before: Conversation, turn: Turn) -> Iterator[tuple[Any, ...]]:
        """Answer a turn after what was said before it; what had been said until then stays if that fails."""
        try:
            yield from self._answering(pair, before, turn)
        except EmosteerError:
            yield shown(said, "That did not work.")
            raise

    def _answering(self, pair: Pair, before: Conversation, turn: Turn) -> Iterator[tuple[Any, ...]]:
        for stage in self._studio.stages(pair):
            yield shown(before.ending(turn), f"{stage} …")
        steered = self._studio.get(pair)
        pictured, traced, drawn = 0.0, time.monotonic(), gr.skip()
        said = before.ending(turn)
        yield shown(said, "Thinking …")
        asked = {voice: said.asking(voice) for voice in VOICES if not turn.answers[voice]}
        for voice, piece in reply(steered, asked, turn.setting, turn.sampling):
            turn, now = turn.saying(voice, piece), time.monotonic()
            if now - traced > TRACE_PACE and self._studio.reads(pair):
                drawn, traced = traced_so_far(steered, turn), time.monotonic()
            if now - pictured > PACE:
                pictured = now
                yield shown(before.ending(turn), "Answering …", drawn)
        yield shown(before.ending(turn.ended()), f"In tone: {turn.setting.words()}. Reading what was said …")


def shown(said: Conversation, status: str, drawn: Any = None) -> tuple[Any, ...]:
    """What the page shows of a conversation: itself, both chat windows, a line of state, the trace."""
    windows = ([{**one, "content": as_html(one["content"])} for one in said.messages(voice)] for voice in VOICES)
    return said, *windows, line(status), gr.skip() if drawn is None else drawn


def as_html(text: str) -> str:
    """HTML that shows a text, for chat windows take it even where they render no Markdown.

    Most texts show themselves and stay as they are: a visitor who edits a message edits what he is shown.
    """
    return text if "<" not in text and html.unescape(text) == text else html.escape(text, quote=False)


def stopped(said: Conversation) -> tuple[Any, ...]:
    """What has been said when the visitor said stop."""
    return shown(said, "Stopped.")


def traced_so_far(steered: Any, turn: Turn) -> Any:
    """The way of both voices over the circumplex, as far as they have spoken."""
    ways = {}
    for voice in VOICES:
        with suppress(InputError):  # not a word yet
            ways[voice] = path(steered.read(turn.answers[voice]))
    return trace(ways, on_circumplex(places_of(steered.vectors)))


def _turn(message: str, widgets: Any) -> Turn:
    return Turn(bounded(message, LONGEST_MESSAGE), setting_of(*widgets[:-3]), sampling_of(*widgets[-3:]))


def talk(studio: Studio, pair: gr.State) -> Talk:
    """Lay the tab out and wire it.

    Args:
        studio: The models.
        pair: Which of them a visitor uses.
    """
    place = studio.places()
    said = gr.State(Conversation())
    made = Talk(studio)
    gr.Markdown(EXPLAINED)
    used = gr.HTML(in_use(studio.first), elem_id="speaking", **FIGURE)
    with gr.Row(equal_height=False, elem_classes="em-talk"):
        with gr.Column(scale=2, min_width=300, elem_classes="em-controls"):
            given = controls(place)
        with gr.Column(scale=5, min_width=320, elem_classes="em-voices"):
            with gr.Row():
                windows = [
                    gr.Chatbot(
                        label=label,
                        elem_id=f"voice-{voice}",
                        height=380,
                        min_width=260,
                        render_markdown=False,  # a model's text is text: no pictures from elsewhere, no HTML
                        sanitize_html=True,
                        latex_delimiters=[],
                        editable="user",
                        buttons=["copy"],
                        feedback_options=None,
                        layout="bubble",
                        placeholder=empty,
                    )
                    for voice, label, empty in (
                        ("plain", "Plain", "The model as it is: polite, with a straight face."),
                        ("toned", "In tone", "The same model, on a very good or a very bad day."),
                    )
                ]
            status = gr.HTML(shown(Conversation(), "Ask something.")[3], elem_id="status")
            message = gr.Textbox(
                STARTERS[0],
                label="Your message",
                max_length=LONGEST_MESSAGE,
                lines=1,
                max_lines=6,
                elem_id="message",
                submit_btn="Send",
                stop_btn=False,
            )
            with gr.Row():
                stop = gr.Button("Stop", size="sm", elem_id="stop")
                again = gr.Button("Again, in other words", size="sm", elem_id="again")
                new = gr.Button("New conversation", size="sm", elem_id="new")
            gr.Examples([[one] for one in STARTERS], message, label="Try", api_visibility="private")
            with gr.Column(elem_classes="em-views"):
                views = see(place)

    widgets = [*given.tone, *given.sampling]
    answered: dict[str, Any] = {
        "outputs": [said, *windows, status, views.drawn],
        "show_progress": "hidden",
        **MODEL,
    }
    # Not in the line for the model, which nobody should wait in behind this.
    learn: dict[str, Any] = {
        "fn": told(studio.learn_to_read),
        "inputs": pair,
        "show_progress": "hidden",
        "api_visibility": "private",
        "concurrency_limit": None,
    }
    read: dict[str, Any] = {
        "fn": told(views.read(studio)),
        "inputs": [pair, said, views.kept, views.tint],
        "outputs": [views.kept, *views.outputs, status],
        "show_progress": "hidden",
        **MODEL,
    }
    retone = {"fn": told(made.retone), "inputs": [given.again, pair, said, *widgets], **answered}
    again_inputs = [pair, said, *widgets]
    asked = gr.State("")  # what was in the box when it was sent, since the box is emptied at once
    taken = message.submit(lambda text: (text, ""), message, [asked, message], **SWIFT)
    begun = [
        taken.then(told(made.send), [asked, pair, said, *widgets], **answered),
        gr.on([again.click, *(window.retry for window in windows)], told(made.again), again_inputs, **answered),
        gr.on(given.moved, trigger_mode="always_last", **retone),
        *(preset.then(**retone) for preset in given.presets),
        *(window.edit(told(made.edited), again_inputs, **answered) for window in windows),
    ]
    for event in begun:
        event.success(**learn).success(**read)
    stop.click(stopped, said, answered["outputs"], cancels=begun, **SWIFT).then(**learn).success(**read)
    forgotten = [new.click, *(window.clear for window in windows)]
    gr.on(
        forgotten, lambda: shown(Conversation(), "Ask something."), None, answered["outputs"], cancels=begun, **SWIFT
    ).then(**read)

    def renew(now: Pair) -> list[Any]:
        """Begin anew with another model: neither what was said nor what was read in it is its own."""
        places = places_of(studio.get(now).vectors)
        return [*renamed(places), *cleared(places), *shown(Conversation(), "Ask something.")[:-1]]

    fresh = [*given.named, *views.named, *answered["outputs"][:-1]]
    pair.change(told(renew), pair, fresh, cancels=begun, **SWIFT)
    pair.change(in_use, pair, used, **SWIFT)
    return made
