"""The second tab: the map of the emotions, one prompt at five strengths and in every tone, and reading a text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from emosteer.demo.controls import sampling_of
from emosteer.demo.events import FIGURE, MODEL, SWIFT, checked_text, with_errors
from emosteer.demo.figures.circumplex import maps, trace
from emosteer.demo.figures.doses import grid, row
from emosteer.demo.figures.text import number
from emosteer.demo.figures.tokens import STRIP_JS, table
from emosteer.demo.readings import path
from emosteer.demo.see import AXES, described, tinted
from emosteer.demo.studio import Pair, Studio, on_circumplex, places_of
from emosteer.demo.surveys import (
    Points,
    agreement,
    every_tone,
    languages_of,
    measured_shapes,
    spread_like,
    strengths,
    where_read,
)
from emosteer.errors import InputError

LONGEST_PROMPT = 500
LONGEST_TEXT = 4000
SHORT = 30  # tokens of an answer where there are many answers
PEOPLE = "People"
TEXT = "The text"
STARTER = "What does the moon look like tonight?"
MEASURES = {  # name in the report → name on the page
    "rsa": "shape of all the emotions (RSA)",
    "axis_valence": "valence",
    "axis_arousal": "arousal",
}
RATINGS = {  # file name of the ratings in the shipped report → name on the page
    "warriner": "Warriner et al. 2013",
    "nrcvad": "NRC VAD Lexicon",
    "cvaw_zh": "CVAW, in Chinese",
}
EXPLAINED = """\
<p>1 is full agreement, 0 is none. Valence and arousal: the correlation of people's ratings with what is read in the
model for emotions that were held out. Shape: the rank correlation of how far apart each two emotions are for people and
in the model. In brackets: 95 % intervals. Control: the same of the model's input embeddings, which know
words but no sentence.</p>
"""
UNIT = "Emotions: standard deviations above neutral text. Valence and arousal: people's scale, from −1 to 1."
UNKNOWN = (math.nan, math.nan, math.nan)

LONG: dict[str, Any] = {"show_progress": "full", **MODEL}

__all__ = ["Explore", "explore"]


class Explore:
    """The event handlers of the tab.

    Args:
        studio: The models.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def emotions(self, pair: Pair) -> list[str]:
        """Return the emotions of the vectors in use."""
        return list(self._studio.get(pair).vectors.emotions)

    def languages(self, pair: Pair) -> list[str]:
        """Return the languages of the vectors in use."""
        return languages_of(self._studio.get(pair))

    def measured(self, pair: Pair) -> str:
        """Return the map that `emosteer eval alignment` measured, with its figures."""
        shapes = [] if (place := pair.place()) is None else measured_shapes(place)
        if not shapes:
            return (
                "<p>Nobody has measured these vectors yet: <code>emosteer eval alignment</code> does, with controls. "
                "Meanwhile, see below where the model reads each emotion.</p>"
            )
        return maps(shapes[0]["human"], shapes[0]["model"], titles=(PEOPLE, "This model")) + measures(shapes)

    def read_map(self, pair: Pair, language: str, other: str, progress: Any = gr.Progress()) -> str:
        """Return the map of the emotions read in situations, beside human ratings or another language."""
        steered = self._studio.get(pair)
        known = [PEOPLE, *self.languages(pair)]
        if language not in known or other not in known:  # a client may send anything
            raise InputError(f"There is no map of {other!r} and {language!r}.", f"There are: {', '.join(known)}.")

        people = on_circumplex(places_of(steered.vectors))

        def side(name: str) -> tuple[str, Points]:
            if name == PEOPLE:
                return PEOPLE, people
            read = where_read(steered, name, _report_to(progress))
            times = spread_like(people, read)  # means over many words are small; the map shows their arrangement
            wider = {emotion: (times * valence, times * arousal) for emotion, (valence, arousal) in read.items()}
            return f"This model, in {name} (drawn {times:.1f} times as wide)", wider

        (left, first), (right, second) = side(other), side(language)
        valence, arousal, n = agreement(first, second)
        note = f"<p>Correlation of the two over {n} emotions: valence {valence:.2f}, arousal {arousal:.2f}.</p>"
        return maps(first, second, titles=(left, right)) + note

    def strengths(self, pair: Pair, prompt: str, emotion: str, seed: float, progress: Any = gr.Progress()) -> str:
        """Answer a prompt at five strengths."""
        asked = checked_text(prompt, LONGEST_PROMPT)
        steered = self._studio.get(pair)
        if emotion not in steered.vectors.emotions:
            raise InputError(f"{str(emotion)[:80]} is no emotion of these vectors.")
        return row(strengths(steered, asked, emotion, sampling_of(seed, 0.8, SHORT), _report_to(progress)))

    def tones(self, pair: Pair, prompt: str, seed: float, progress: Any = gr.Progress()) -> str:
        """Answer a prompt in every tone."""
        asked = checked_text(prompt, LONGEST_PROMPT)
        sampling = sampling_of(seed, 0.8, SHORT)
        return grid(every_tone(self._studio.get(pair), asked, sampling, _report_to(progress)))

    def read(self, pair: Pair, text: str, tint: str) -> tuple[Any, ...]:
        """Read the emotion in a text."""
        steered = self._studio.get(pair)
        reading = steered.read(checked_text(text, LONGEST_TEXT))
        places = on_circumplex(places_of(steered.vectors))
        whole = f"<p>{described(reading)}</p><p>{UNIT}</p>"
        return reading, whole, tinted(reading, tint, TEXT), trace({TEXT: path(reading)}, places)


def _report_to(progress: Any) -> Callable[[float, str], None]:
    return lambda share, what: progress(min(share, 1.0), desc=what)


def measures(shapes: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the agreement with each set of human ratings, with the control beside it."""
    rows = []
    for shape in shapes:
        ratings = RATINGS.get(shape["ratings"], shape["ratings"])
        cells = [f"{ratings} ({len(shape['human'])} emotions, texts in {shape['language']})"]
        for measure in MEASURES:
            (value, low, high), (control, *_) = (shape[side].get(measure, UNKNOWN) for side in ("measures", "control"))
            interval = f" [{number(low)}, {number(high)}]" if math.isfinite(low + high) else ""
            beside = f"; control {number(control)}" if math.isfinite(control) else ""
            cells.append(f"{number(value)}{interval}{beside}")
        rows.append(cells)
    return table(["human ratings", *MEASURES.values()], rows, "Agreement with people") + EXPLAINED


def explore(studio: Studio, pair: gr.State) -> None:
    """Lay out the tab and connect its events.

    Args:
        studio: The models.
        pair: The pair that the visitor uses.
    """
    handlers = Explore(studio)
    names = list(studio.places())
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Map") as tab:
            _map(handlers, pair, tab)
        with gr.Tab("Five strengths"):
            _five_strengths(handlers, pair, names)
        with gr.Tab("Every tone"):
            _every_tone(handlers, pair)
        with gr.Tab("Read a text"):
            _read_a_text(handlers, pair, names)


def _map(handlers: Explore, pair: gr.State, tab: gr.Tab) -> None:
    gr.Markdown(
        "Where people place the emotions, and where the model has them: the two directions in which its emotions "
        "differ most, turned onto valence and arousal."
    )
    measured = gr.HTML("", elem_id="map", **FIGURE)
    with gr.Accordion("Where this model reads situations of each emotion", open=False):
        with gr.Row():
            other = gr.Dropdown([PEOPLE, "en"], value=PEOPLE, label="Left")
            language = gr.Dropdown(["en"], value="en", label="Right", info="Languages of the vectors.")
            go = gr.Button("Read them", elem_id="read-map")
        read = gr.HTML("", elem_id="map-read", min_height=80, **FIGURE)

    def renew(now: Pair) -> tuple[Any, ...]:
        spoken = handlers.languages(now)
        others = gr.update(choices=[PEOPLE, *spoken], value=PEOPLE)
        return others, gr.update(choices=spoken, value=spoken[0]), handlers.measured(now), ""

    tab.select(with_errors(handlers.measured), pair, measured, **{**SWIFT, "queue": True})
    go.click(with_errors(handlers.read_map), [pair, language, other], read, **LONG)
    pair.change(with_errors(renew), pair, [other, language, measured, read], **{**SWIFT, "queue": True})


def _five_strengths(handlers: Explore, pair: gr.State, names: list[str]) -> None:
    gr.Markdown("One question at five strengths of one emotion. Below 0 steers away from it, 1 is a full dose.")
    with gr.Row():
        asked = gr.Textbox(STARTER, label="Question", max_length=LONGEST_PROMPT)
        emotion = gr.Dropdown(names, value="joy" if "joy" in names else names[0], label="Emotion")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    go = gr.Button("Answer at five strengths", variant="primary", elem_id="five")
    answers = gr.HTML("", elem_id="strengths", min_height=120, **FIGURE)
    go.click(with_errors(handlers.strengths), [pair, asked, emotion, seed], answers, **LONG)

    def renew(now: Pair) -> tuple[Any, ...]:
        names = handlers.emotions(now)
        return gr.update(choices=names, value=names[0]), ""

    pair.change(with_errors(renew), pair, [emotion, answers], **SWIFT)


def _every_tone(handlers: Explore, pair: gr.State) -> None:
    gr.Markdown("The same question in every tone, at a full dose each.")
    with gr.Row():
        asked = gr.Textbox(STARTER, label="Question", max_length=LONGEST_PROMPT)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    go = gr.Button("Answer in every tone", variant="primary", elem_id="every")
    answers = gr.HTML("", elem_id="tones", min_height=120, **FIGURE)
    go.click(with_errors(handlers.tones), [pair, asked, seed], answers, **LONG)
    pair.change(lambda: "", None, answers, **SWIFT)


def _read_a_text(handlers: Explore, pair: gr.State, names: list[str]) -> None:
    gr.Markdown("Paste anything; the plain model reads the emotion in it, word by word.")
    text = gr.Textbox(label="Text", lines=5, max_length=LONGEST_TEXT, elem_id="text")
    kept = gr.State(None)
    with gr.Row():
        tint = gr.Dropdown([*AXES, *names], value=AXES[0], label="Tint each word by", elem_id="read-tint")
        go = gr.Button("Read", variant="primary", elem_id="read")
    whole = gr.HTML("", elem_id="read-whole", **FIGURE)
    with gr.Row():
        words = gr.HTML("", elem_id="read-words", js_on_load=STRIP_JS, **FIGURE)
        way = gr.HTML("", elem_id="read-way", **FIGURE)
    outputs = [kept, whole, words, way]
    gr.on([go.click, text.submit], with_errors(handlers.read), [pair, text, tint], outputs, **LONG)
    tint.input(lambda reading, by: reading and tinted(reading, by, TEXT), [kept, tint], words, **SWIFT)

    def renew(now: Pair) -> tuple[Any, ...]:
        return gr.update(choices=[*AXES, *handlers.emotions(now)], value=AXES[0]), None, "", "", ""

    pair.change(with_errors(renew), pair, [tint, *outputs], **SWIFT)
