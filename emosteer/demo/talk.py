"""The first tab: one question, two voices."""

from __future__ import annotations

import html
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from emosteer.demo.bring import in_use
from emosteer.demo.controls import controls, renamed, sampling_of, setting_of
from emosteer.demo.events import FIGURE, MODEL, SWIFT, checked_text, status_line, with_errors
from emosteer.demo.figures.circumplex import trace
from emosteer.demo.readings import path
from emosteer.demo.replies import reply
from emosteer.demo.see import cleared, see
from emosteer.demo.state import VOICES, Scene, Turn, Visit
from emosteer.demo.studio import Pair, Studio, on_circumplex, places_of
from emosteer.demo.tone import Mix
from emosteer.errors import EmosteerError, InputError

LONGEST_MESSAGE = 2000
PACE = 0.12  # seconds between two updates of the chat windows
TRACE_PACE = 2.0  # and of the trace, which takes a forward pass for each voice
STARTERS = (
    "How was your morning?",
    "Tell me about the sea.",
    "What should I cook tonight?",
    "Tell me a story about a cat.",
)
EXPLAINED = """\
**Plain: the model as it is. In tone: the same model with feeling.** Move the point or press a mood, then ask something.
Nothing is written into your message: what the words for an emotion have in common is added to what the model thinks.
"""

__all__ = ["Talk", "talk"]


class Talk:
    """The event handlers of the tab.

    What a visitor does changes the scene at once, and ends an answer that is on its way. `answer` then waits for the
    model.

    Args:
        studio: The models.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def send(self, message: str, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """Ask a new message, and empty the box. Blank messages are ignored."""
        if message and not message.strip():
            return "", *shown(visit.scene)
        visit.ask(visit.scene.conversation, _turn(message, widgets))
        return "", *shown(visit.scene)

    def again(self, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """Ask the last message again, with the next seed."""
        conversation = visit.scene.conversation
        if conversation.last is None:
            raise InputError("There is nothing to answer again.", "Ask something first.")
        turn = _turn(conversation.last.message, widgets)
        turn = replace(turn, sampling=replace(turn.sampling, seed=conversation.last.sampling.seed + 1))
        visit.ask(conversation.before(len(conversation.turns) - 1), turn)
        return shown(visit.scene)

    def retone(self, enabled: bool, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """Ask the last message again in the current tone, with the same seed. A complete plain answer is kept.

        An empty mix is ignored, since emotions are about to be chosen.
        """
        conversation, setting = visit.scene.conversation, setting_of(*widgets[:-3])
        last = conversation.last
        if not enabled or last is None or setting in (last.setting, Mix(), Mix(natural=False)):
            return shown(visit.scene)
        answers = {"plain": last.answers["plain"] if last.whole else "", "toned": ""}
        visit.ask(
            conversation.before(len(conversation.turns) - 1),
            Turn(last.message, setting, last.sampling, answers, whole=False),
        )
        return shown(visit.scene)

    def edited(self, edit: gr.EditData, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """Ask an edited message again. Later messages are dropped."""
        voice = str(getattr(edit.target, "elem_id", "")).removeprefix("voice-")
        conversation = visit.scene.conversation
        turn = conversation.turn_at(voice, edit.index)
        message = html.unescape(edit.value) if isinstance(edit.value, str) else ""
        visit.ask(conversation.before(turn), _turn(message, widgets))
        return shown(visit.scene)

    def answer(self, pair: Pair, visit: Visit) -> Iterator[tuple[Any, ...]]:
        """Answer the last message. If that fails, the conversation before it is restored.

        The last update shows the current scene, whatever became of this answer, since gradio repeats the last update
        at the end.
        """
        scene = visit.scene
        if not scene.due:  # answered or stopped while this event was in the queue
            yield shown(scene)  # gradio clears the outputs of a generator that yields nothing
            return
        try:
            with closing(self._answering(pair, scene)) as pictures:
                for drawn in pictures:
                    if visit.scene is not scene:
                        break
                    yield shown(scene, drawn)
        except EmosteerError:
            if visit.scene is scene:
                visit.halt(scene.kept, "That did not work.")
            yield shown(visit.scene)
            raise
        scene.due = False
        yield shown(visit.scene)

    def _answering(self, pair: Pair, scene: Scene) -> Generator[Any, None, None]:
        """Change the scene as the answer grows. Yield when the page is to be updated, with the trace if it is new."""
        assert scene.turn is not None
        for stage in self._studio.stages(pair):
            scene.status = f"{stage} …"
            yield None
        steered = self._studio.get(pair)
        pictured, traced = 0.0, time.monotonic()
        scene.status = "Thinking …"
        yield None
        asked = {voice: scene.conversation.asking(voice) for voice in VOICES if not scene.turn.answers[voice]}
        scene.status = "Answering …"
        with closing(reply(steered, asked, scene.turn.setting, scene.turn.sampling)) as pieces:
            for voice, piece in pieces:
                scene.turn, now, drawn = scene.turn.saying(voice, piece), time.monotonic(), None
                if now - traced > TRACE_PACE and self._studio.reads(pair):
                    drawn, traced = traced_so_far(steered, scene.turn), time.monotonic()
                if now - pictured > PACE or drawn is not None:
                    pictured = now
                    yield drawn
        scene.turn = scene.turn.ended()
        scene.status = f"In tone: {scene.turn.setting.words()}. Reading what was said …"


def shown(scene: Scene, drawn: Any = None) -> tuple[Any, ...]:
    """Return the updates for a scene: both chat windows, the status line, and the trace if it is new."""
    windows = (
        [{**message, "content": as_html(message["content"])} for message in scene.conversation.messages(voice)]
        for voice in VOICES
    )
    return *windows, status_line(scene.status), gr.skip() if drawn is None else drawn


def stopped(visit: Visit) -> tuple[Any, ...]:
    """Stop the answer, and keep what has come of it."""
    if visit.scene.due:
        visit.halt(visit.scene.conversation, "Stopped.")
    return shown(visit.scene)


def forgotten(visit: Visit) -> tuple[Any, ...]:
    """Start a new conversation."""
    visit.scene = Scene()
    return shown(visit.scene)


def as_html(text: str) -> str:
    """Return HTML that shows a text. Chat windows interpret HTML even where they render no Markdown.

    A text without markup is returned unchanged, so that a visitor who edits a message sees what was typed.
    """
    return text if "<" not in text and html.unescape(text) == text else html.escape(text, quote=False)


def traced_so_far(steered: Any, turn: Turn) -> Any:
    """Return the trace of both voices over the circumplex, as far as they have answered."""
    ways = {}
    for voice in VOICES:
        with suppress(InputError):  # not a word yet
            ways[voice] = path(steered.read(turn.answers[voice]))
    return trace(ways, on_circumplex(places_of(steered.vectors)))


def _turn(message: str, widgets: Any) -> Turn:
    """Return the turn to answer, with the current values of the widgets."""
    checked_text(message, LONGEST_MESSAGE)
    return Turn(message, setting_of(*widgets[:-3]), sampling_of(*widgets[-3:]), whole=False)


def talk(studio: Studio, pair: gr.State) -> Talk:
    """Lay out the tab and connect its events.

    Args:
        studio: The models.
        pair: The pair that the visitor uses.
    """
    places = studio.places()
    visit = gr.State(Visit())
    handlers = Talk(studio)
    gr.Markdown(EXPLAINED)
    used = gr.HTML(in_use(studio.first), elem_id="speaking", **FIGURE)
    with gr.Row(equal_height=False, elem_classes="em-talk"):
        with gr.Column(scale=2, min_width=300, elem_classes="em-controls"):
            settings = controls(places)
        with gr.Column(scale=5, min_width=320, elem_classes="em-voices"):
            with gr.Row():
                windows = [
                    gr.Chatbot(
                        label=label,
                        elem_id=f"voice-{voice}",
                        height=380,
                        min_width=260,
                        render_markdown=False,  # a model's answer must not load images or become HTML
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
            status = gr.HTML(status_line(Scene().status), elem_id="status")
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
            gr.Examples([[starter] for starter in STARTERS], message, label="Try", api_visibility="private")
            with gr.Column(elem_classes="em-views"):
                views = see(places)

    widgets = [*settings.tone, *settings.sampling]
    pictures = [*windows, status, views.drawn]
    # In the queue, so that errors are shown, but without waiting.
    at_once: dict[str, Any] = {"outputs": pictures, **SWIFT, "queue": True, "concurrency_limit": None}
    answer: dict[str, Any] = {
        "fn": with_errors(handlers.answer),
        "inputs": [pair, visit],
        "outputs": pictures,
        "show_progress": "hidden",
        "trigger_mode": "always_last",  # a request that comes while an answer ends is answered too
        **MODEL,
    }
    # Not in the queue for the model, so that nobody waits behind it.
    learn: dict[str, Any] = {
        "fn": with_errors(studio.learn_to_read),
        "inputs": pair,
        "show_progress": "hidden",
        "api_visibility": "private",
        "concurrency_limit": None,
    }
    read: dict[str, Any] = {
        "fn": with_errors(views.read(studio)),
        "inputs": [pair, visit, views.kept, views.tint],
        "outputs": [views.kept, *views.outputs, status],
        "show_progress": "hidden",
        **MODEL,
    }
    retone = {"fn": with_errors(handlers.retone), "inputs": [settings.again, visit, *widgets], **at_once}
    asked = [
        message.submit(
            with_errors(handlers.send), [message, visit, *widgets], **{**at_once, "outputs": [message, *pictures]}
        ),
        gr.on(
            [again.click, *(window.retry for window in windows)],
            with_errors(handlers.again),
            [visit, *widgets],
            **at_once,
        ),
        *(window.edit(with_errors(handlers.edited), [visit, *widgets], **at_once) for window in windows),
        gr.on(settings.moved, trigger_mode="always_last", **retone),
        *(preset.then(**retone) for preset in settings.presets),
    ]
    for event in asked:
        event.success(**answer).success(**learn).success(**read)
    stop.click(stopped, visit, **at_once).then(**learn).success(**read)
    gr.on([new.click, *(window.clear for window in windows)], forgotten, visit, **at_once).then(**read)

    def renew(now: Pair, visit: Visit) -> list[Any]:
        """Reset the tab for another model, whose conversation and readings are its own."""
        emotions = places_of(studio.get(now).vectors)
        return [*renamed(emotions), *cleared(emotions), *forgotten(visit)[:-1]]

    pair.change(with_errors(renew), [pair, visit], [*settings.named, *views.named, *pictures[:-1]], **SWIFT)
    pair.change(in_use, pair, used, **SWIFT)
    return handlers
