"""The second tab: the map of the emotions, one prompt at five strengths and in every tone, and any text read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from emosteer.demo.controls import sampling_of
from emosteer.demo.figures.circumplex import maps, trace
from emosteer.demo.figures.doses import grid, row
from emosteer.demo.figures.text import number
from emosteer.demo.figures.tokens import STRIP_JS, table
from emosteer.demo.readings import path
from emosteer.demo.see import AXES, said_of, tinted
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
from emosteer.demo.told import FIGURE, MODEL, SWIFT, bounded, told
from emosteer.errors import InputError

LONGEST_PROMPT = 500
LONGEST_TEXT = 4000
SHORT = 30  # tokens of each answer where there are many
PEOPLE = "People"
TEXT = "The text"
STARTER = "How was your morning?"
MEASURES = {  # of the report, as they are called here
    "rsa": "shape of all the emotions (RSA)",
    "axis_valence": "valence",
    "axis_arousal": "arousal",
}
RATINGS = {  # that the shipped vectors were measured with, by the names of their files
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
    """What the tab's events call.

    Args:
        studio: The models.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def emotions(self, pair: Pair) -> list[str]:
        """Of the vectors in use."""
        return list(self._studio.get(pair).vectors.emotions)

    def languages(self, pair: Pair) -> list[str]:
        """Of the vectors in use."""
        return languages_of(self._studio.get(pair))

    def measured(self, pair: Pair) -> str:
        """The map that `emosteer eval alignment` measured, with its figures."""
        shapes = [] if (place := pair.place()) is None else measured_shapes(place)
        if not shapes:
            return (
                "<p>Nobody has measured these vectors yet: <code>emosteer eval alignment</code> does, with controls. "
                "Meanwhile, see below where the model reads each emotion.</p>"
            )
        return maps(shapes[0]["human"], shapes[0]["model"], titles=(PEOPLE, "This model")) + measures(shapes)

    def read_map(self, pair: Pair, language: str, other: str, progress: Any = gr.Progress()) -> str:
        """Where the model reads situations of each emotion, beside people or beside another language."""
        steered = self._studio.get(pair)
        known = [PEOPLE, *self.languages(pair)]
        if language not in known or other not in known:  # a client may send anything
            raise InputError(f"There is no map of {other!r} and {language!r}.", f"There are: {', '.join(known)}.")

        people = on_circumplex(places_of(steered.vectors))

        def side(name: str) -> tuple[str, Points]:
            if name == PEOPLE:
                return PEOPLE, people
            read = where_read(steered, name, _telling(progress))
            times = spread_like(people, read)  # a mean over many words is mild, and the map is of how they lie
            wider = {emotion: (times * valence, times * arousal) for emotion, (valence, arousal) in read.items()}
            return f"This model, in {name} (drawn {times:.1f} times as wide)", wider

        (left, first), (right, second) = side(other), side(language)
        valence, arousal, n = agreement(first, second)
        said = f"<p>Correlation of the two over {n} emotions: valence {valence:.2f}, arousal {arousal:.2f}.</p>"
        return maps(first, second, titles=(left, right)) + said

    def strengths(self, pair: Pair, prompt: str, emotion: str, seed: float, progress: Any = gr.Progress()) -> str:
        """One prompt at five strengths."""
        asked = bounded(prompt, LONGEST_PROMPT)
        steered = self._studio.get(pair)
        if emotion not in steered.vectors.emotions:
            raise InputError(f"{str(emotion)[:80]} is no emotion of these vectors.")
        return row(strengths(steered, asked, emotion, sampling_of(seed, 0.8, SHORT), _telling(progress)))

    def tones(self, pair: Pair, prompt: str, seed: float, progress: Any = gr.Progress()) -> str:
        """One prompt in every tone."""
        asked = bounded(prompt, LONGEST_PROMPT)
        sampling = sampling_of(seed, 0.8, SHORT)
        return grid(every_tone(self._studio.get(pair), asked, sampling, _telling(progress)))

    def read(self, pair: Pair, text: str, tint: str) -> tuple[Any, ...]:
        """What is read in any text."""
        steered = self._studio.get(pair)
        reading = steered.read(bounded(text, LONGEST_TEXT))
        places = on_circumplex(places_of(steered.vectors))
        whole = f"<p>{said_of(reading)}</p><p>{UNIT}</p>"
        return reading, whole, tinted(reading, tint, TEXT), trace({TEXT: path(reading)}, places)


def _telling(progress: Any) -> Callable[[float, str], None]:
    return lambda share, what: progress(min(share, 1.0), desc=what)


def measures(shapes: Sequence[Mapping[str, Any]]) -> str:
    """How well the model agrees with people, against each set of ratings, with the control beside it."""
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
    """Lay the tab out and wire it.

    Args:
        studio: The models.
        pair: Which of them a visitor uses.
    """
    made = Explore(studio)
    names = list(studio.places())
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Map") as tab:
            _map(made, pair, tab)
        with gr.Tab("Five strengths"):
            _five_strengths(made, pair, names)
        with gr.Tab("Every tone"):
            _every_tone(made, pair)
        with gr.Tab("Read a text"):
            _read_a_text(made, pair, names)


def _map(made: Explore, pair: gr.State, tab: gr.Tab) -> None:
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
        spoken = made.languages(now)
        others = gr.update(choices=[PEOPLE, *spoken], value=PEOPLE)
        return others, gr.update(choices=spoken, value=spoken[0]), made.measured(now), ""

    tab.select(told(made.measured), pair, measured, **{**SWIFT, "queue": True})
    go.click(told(made.read_map), [pair, language, other], read, **LONG)
    pair.change(told(renew), pair, [other, language, measured, read], **{**SWIFT, "queue": True})


def _five_strengths(made: Explore, pair: gr.State, names: list[str]) -> None:
    gr.Markdown("One question at five strengths of one emotion. Below 0 steers away from it, 1 is a full dose.")
    with gr.Row():
        asked = gr.Textbox(STARTER, label="Question", max_length=LONGEST_PROMPT)
        emotion = gr.Dropdown(names, value="joy" if "joy" in names else names[0], label="Emotion")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    go = gr.Button("Answer at five strengths", variant="primary", elem_id="five")
    found = gr.HTML("", elem_id="strengths", min_height=120, **FIGURE)
    go.click(told(made.strengths), [pair, asked, emotion, seed], found, **LONG)

    def renew(now: Pair) -> tuple[Any, ...]:
        names = made.emotions(now)
        return gr.update(choices=names, value=names[0]), ""

    pair.change(told(renew), pair, [emotion, found], **SWIFT)


def _every_tone(made: Explore, pair: gr.State) -> None:
    gr.Markdown("The same question in every tone, at a full dose each.")
    with gr.Row():
        asked = gr.Textbox(STARTER, label="Question", max_length=LONGEST_PROMPT)
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
    go = gr.Button("Answer in every tone", variant="primary", elem_id="every")
    found = gr.HTML("", elem_id="tones", min_height=120, **FIGURE)
    go.click(told(made.tones), [pair, asked, seed], found, **LONG)
    pair.change(lambda: "", None, found, **SWIFT)


def _read_a_text(made: Explore, pair: gr.State, names: list[str]) -> None:
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
    found = [kept, whole, words, way]
    gr.on([go.click, text.submit], told(made.read), [pair, text, tint], found, **LONG)
    tint.input(lambda reading, by: reading and tinted(reading, by, TEXT), [kept, tint], words, **SWIFT)

    def renew(now: Pair) -> tuple[Any, ...]:
        return gr.update(choices=[*AXES, *made.emotions(now)], value=AXES[0]), None, "", "", ""

    pair.change(told(renew), pair, [tint, *found], **SWIFT)
