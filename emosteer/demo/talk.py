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
from emosteer.demo.figures.circumplex import trace
from emosteer.demo.readings import path
from emosteer.demo.replies import reply
from emosteer.demo.see import cleared, see
from emosteer.demo.state import VOICES, Scene, Turn, Visit
from emosteer.demo.studio import Pair, Studio, on_circumplex, places_of
from emosteer.demo.told import FIGURE, MODEL, SWIFT, bounded, line, told
from emosteer.demo.tone import Mix
from emosteer.errors import EmosteerError, InputError

LONGEST_MESSAGE = 2000
PACE = 0.12  # seconds between two pictures of an answer that grows
TRACE_PACE = 2.0  # and of its trace: reading it takes a forward pass of each voice
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
    """Answers visitors' messages in two voices.

    What a visitor does sets the scene at once, and ends the answer that is on its way; `answer` then waits for the
    model.

    Args:
        studio: The models.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def send(self, message: str, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """A new message; the box is emptied. Nothing but blanks is no message."""
        if message and not message.strip():
            return "", *shown(visit.scene)
        visit.ask(visit.scene.said, _turn(message, widgets))
        return "", *shown(visit.scene)

    def again(self, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """The last message once more, to be answered in other words: by the next seed."""
        said = visit.scene.said
        if said.last is None:
            raise InputError("There is nothing to answer again.", "Ask something first.")
        turn = _turn(said.last.message, widgets)
        turn = replace(turn, sampling=replace(turn.sampling, seed=said.last.sampling.seed + 1))
        visit.ask(said.before(len(said.turns) - 1), turn)
        return shown(visit.scene)

    def retone(self, wanted: bool, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """The last message in the tone that is set now, by the same seed; a plain answer that is whole stays.

        No emotion is named where they are about to be.
        """
        said, setting = visit.scene.said, setting_of(*widgets[:-3])
        last = said.last
        if not wanted or last is None or setting in (last.setting, Mix(), Mix(natural=False)):
            return shown(visit.scene)
        answers = {"plain": last.answers["plain"] if last.whole else "", "toned": ""}
        visit.ask(said.before(len(said.turns) - 1), Turn(last.message, setting, last.sampling, answers, whole=False))
        return shown(visit.scene)

    def edited(self, edit: gr.EditData, visit: Visit, *widgets: Any) -> tuple[Any, ...]:
        """A message that was changed; what came after it is gone."""
        voice = str(getattr(edit.target, "elem_id", "")).removeprefix("voice-")
        said = visit.scene.said
        turn = said.turn_at(voice, edit.index)
        message = html.unescape(edit.value) if isinstance(edit.value, str) else ""
        visit.ask(said.before(turn), _turn(message, widgets))
        return shown(visit.scene)

    def answer(self, pair: Pair, visit: Visit) -> Iterator[tuple[Any, ...]]:
        """Answer what was asked last; what had been said until then stays if that fails.

        The last picture is of what the visitor sees by then, whatever has become of this answer: gradio shows it once
        more when all has been said.
        """
        scene = visit.scene
        if not scene.due:  # it was answered, or stopped, while this waited in line
            yield shown(scene)  # gradio empties what a generator says nothing of
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
        """Have the scene change, and say when it is time for a picture, with the trace where it is new."""
        assert scene.turn is not None
        for stage in self._studio.stages(pair):
            scene.status = f"{stage} …"
            yield None
        steered = self._studio.get(pair)
        pictured, traced = 0.0, time.monotonic()
        scene.status = "Thinking …"
        yield None
        asked = {voice: scene.said.asking(voice) for voice in VOICES if not scene.turn.answers[voice]}
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
    """What the page shows of a scene: both chat windows, a line of state, the trace where it is new."""
    windows = ([{**one, "content": as_html(one["content"])} for one in scene.said.messages(voice)] for voice in VOICES)
    return *windows, line(scene.status), gr.skip() if drawn is None else drawn


def stopped(visit: Visit) -> tuple[Any, ...]:
    """What has been said when the visitor said stop."""
    if visit.scene.due:
        visit.halt(visit.scene.said, "Stopped.")
    return shown(visit.scene)


def forgotten(visit: Visit) -> tuple[Any, ...]:
    """A new conversation."""
    visit.scene = Scene()
    return shown(visit.scene)


def as_html(text: str) -> str:
    """HTML that shows a text, for chat windows take it even where they render no Markdown.

    Most texts show themselves and stay as they are: a visitor who edits a message edits what he is shown.
    """
    return text if "<" not in text and html.unescape(text) == text else html.escape(text, quote=False)


def traced_so_far(steered: Any, turn: Turn) -> Any:
    """The way of both voices over the circumplex, as far as they have spoken."""
    ways = {}
    for voice in VOICES:
        with suppress(InputError):  # not a word yet
            ways[voice] = path(steered.read(turn.answers[voice]))
    return trace(ways, on_circumplex(places_of(steered.vectors)))


def _turn(message: str, widgets: Any) -> Turn:
    """What is to be answered, as the widgets stand."""
    bounded(message, LONGEST_MESSAGE)
    return Turn(message, setting_of(*widgets[:-3]), sampling_of(*widgets[-3:]), whole=False)


def talk(studio: Studio, pair: gr.State) -> Talk:
    """Lay the tab out and wire it.

    Args:
        studio: The models.
        pair: Which of them a visitor uses.
    """
    place = studio.places()
    visit = gr.State(Visit())
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
            status = gr.HTML(line(Scene().status), elem_id="status")
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
    pictures = [*windows, status, views.drawn]
    # Through the queue, where an error is told; in no line.
    at_once: dict[str, Any] = {"outputs": pictures, **SWIFT, "queue": True, "concurrency_limit": None}
    answer: dict[str, Any] = {
        "fn": told(made.answer),
        "inputs": [pair, visit],
        "outputs": pictures,
        "show_progress": "hidden",
        "trigger_mode": "always_last",  # whoever asks anew while an answer ends gets one
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
        "inputs": [pair, visit, views.kept, views.tint],
        "outputs": [views.kept, *views.outputs, status],
        "show_progress": "hidden",
        **MODEL,
    }
    retone = {"fn": told(made.retone), "inputs": [given.again, visit, *widgets], **at_once}
    asked = [
        message.submit(told(made.send), [message, visit, *widgets], **{**at_once, "outputs": [message, *pictures]}),
        gr.on([again.click, *(one.retry for one in windows)], told(made.again), [visit, *widgets], **at_once),
        *(window.edit(told(made.edited), [visit, *widgets], **at_once) for window in windows),
        gr.on(given.moved, trigger_mode="always_last", **retone),
        *(preset.then(**retone) for preset in given.presets),
    ]
    for event in asked:
        event.success(**answer).success(**learn).success(**read)
    stop.click(stopped, visit, **at_once).then(**learn).success(**read)
    gr.on([new.click, *(one.clear for one in windows)], forgotten, visit, **at_once).then(**read)

    def renew(now: Pair, visit: Visit) -> list[Any]:
        """Begin anew with another model: neither what was said nor what was read in it is its own."""
        places = places_of(studio.get(now).vectors)
        return [*renamed(places), *cleared(places), *forgotten(visit)[:-1]]

    pair.change(told(renew), [pair, visit], [*given.named, *views.named, *pictures[:-1]], **SWIFT)
    pair.change(in_use, pair, used, **SWIFT)
    return made
