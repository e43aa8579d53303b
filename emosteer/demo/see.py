"""Below the two voices: what is read in them, what the tone cost, and why each word."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from emosteer.demo.figures.circumplex import trace
from emosteer.demo.figures.reasons import why
from emosteer.demo.figures.tokens import STRIP_JS, strip, table
from emosteer.demo.readings import Seen, path, seen
from emosteer.demo.state import VOICES, Conversation, Visit
from emosteer.demo.studio import Pair, Places, Studio, on_circumplex, places_of
from emosteer.demo.told import FIGURE, SWIFT, line
from emosteer.demo.tone import chat_call, steered_where

if TYPE_CHECKING:
    from emosteer import SteeredModel
    from emosteer.reading.emotion_reading import EmotionReading

AXES = ("valence", "arousal")
STRONGEST = 3  # emotions that are named beside a word
NAMED = {"plain": "Plain", "toned": "In tone"}
FULL_AXIS, FULL = 0.8, 6.0  # valence or arousal, and emotion in standard deviations, at which a tint is full
TOO_SHORT = "<p class='em-empty'>Too short to be read.</p>"

__all__ = ["AXES", "See", "cleared", "said_of", "see", "tinted"]


@dataclass(frozen=True)
class See:
    """The components."""

    tint: gr.Dropdown
    kept: gr.State
    drawn: gr.HTML
    outputs: list[Any]

    @property
    def named(self) -> list[Any]:
        """What is of one set of vectors: what `cleared` gives."""
        return [self.tint, self.kept, *self.outputs]

    def read(self, studio: Studio) -> Callable[..., tuple[Any, ...]]:
        """The function that fills them: read the last answers, unless that has been done."""

        def fill(pair: Pair, visit: Visit, kept: Seen, tint: str) -> tuple[Any, ...]:
            scene, said = visit.scene, visit.scene.said
            silent = said.last is not None and not any(said.last.answers.values())
            nothing = (gr.skip(),) * (2 + len(self.outputs))
            if scene.due or silent:  # what is still to come is read when it has come
                return nothing
            done = f"In tone: {said.last.setting.words()}." if said.last else scene.status
            if said.last == kept.turn:
                return *nothing[1:], line(done)
            steered = studio.get(pair)
            now = seen(steered, said)
            filled = pictures(now, said, pair, steered, tint)
            if visit.scene is not scene:
                return nothing
            scene.status = done
            return now, *filled, line(done)

        return fill


def pictures(now: Seen, said: Conversation, pair: Pair, steered: SteeredModel, tint: str) -> list[str]:
    """What every output shows, in their order."""
    last = said.last
    places = on_circumplex(places_of(steered.vectors))
    if last is None:
        return ["", trace({}, places), "", "", "", ""]
    ways = {voice: path(reading) for voice, reading in now.readings.items()}
    return [
        summary(now, steered_where(steered.vectors, last.setting), last.setting.words()),
        trace(ways, places),
        *strips(now, tint),
        "" if now.why is None else why(**vars(now.why)),
        pair.code() + chat_call(said.asking("toned"), last.setting, last.sampling.options()),
    ]


def cleared(places: Places) -> list[Any]:
    """Nothing seen yet, with the emotions of other vectors."""
    nothing = trace({}, on_circumplex(places))
    return [gr.update(choices=[*AXES, *places], value="valence"), Seen({}, {}, None), "", nothing, "", "", "", ""]


def strips(kept: Seen, tint: str) -> list[str]:
    """Both answers, each word tinted by what is read in it, with a table of the numbers."""
    return [
        tinted(kept.readings[voice], tint, NAMED[voice]) if voice in kept.readings else TOO_SHORT for voice in VOICES
    ]


def tinted(reading: EmotionReading, tint: str, name: str) -> str:
    """A text, each word tinted by what is read in it, with a table of the numbers.

    Args:
        reading: Of the text.
        tint: An emotion, or an axis; valence if it is neither.
        name: Of the text.
    """
    by = {**reading.token_scores, **reading.token_axes}
    tint = tint if tint in by else next(iter(reading.token_axes or by))
    details = [
        ", ".join(f"{emotion} {score:+.1f}" for emotion, score in _strongest(reading.token_scores, i))
        for i in range(len(reading.tokens))
    ]
    rows = [
        (token, score, detail) for token, score, detail in zip(reading.tokens, by[tint], details, strict=True) if token
    ]
    return (
        f"<h3 class='em-title'>{html.escape(name)}</h3>"
        + strip(reading.tokens, by[tint], label=tint, scale=FULL_AXIS if tint in AXES else FULL, details=details)
        + "<details class='em-details'><summary>The same as a table</summary>"
        + table(["word", tint, "strongest emotions"], rows, f"{name}: {tint} of each word")
        + "</details>"
    )


def summary(now: Seen, where: str, words: str) -> str:
    """What was steered and what it cost, in plain words."""
    lines = [f"<p><b>{html.escape(words)}.</b> {html.escape(where)}</p>"]
    if (cost := now.cost) is not None and math.isfinite(cost):
        plain, toned = (now.costs[voice] for voice in VOICES)
        feeling = "no more than" if cost <= 0.05 else "a little more than" if cost <= 0.5 else "clearly more than"
        lines.append(
            f"<p><b>Fluency:</b> {toned:.2f} nats a token in tone, {plain:.2f} plain: <b>{cost:+.2f}</b>. "
            f"To the plain model, the words in tone are surprising {feeling} its own (one answer; half a nat is what "
            "a calibrated dose may cost).</p>"
        )
    said = [f"<li><b>{NAMED[voice]}:</b> {said_of(one)}</li>" for voice, one in now.readings.items()]
    if said:
        lines.append(f"<p>Read in the words by the plain model:</p><ul>{''.join(said)}</ul>")
    return f"<div class='em-summary'>{''.join(lines)}</div>"


def said_of(reading: EmotionReading) -> str:
    """What is read in a text as a whole, in a line of HTML."""
    top = sorted(reading.scores.items(), key=lambda item: -item[1])[:STRONGEST]
    axes = ""
    if reading.valence is not None and reading.arousal is not None:
        axes = f"valence {reading.valence:+.2f}, arousal {reading.arousal:+.2f}; "
    return axes + ", ".join(f"{html.escape(name)} {score:+.1f}" for name, score in top)


def _strongest(scores: Any, token: int) -> list[tuple[str, float]]:
    here = [(name, row[token]) for name, row in scores.items() if not math.isnan(row[token])]
    return sorted(here, key=lambda item: -item[1])[:STRONGEST]


def see(places: Places) -> See:
    """Lay the views out, in the block that is open."""
    kept = gr.State(Seen({}, {}, None))
    with gr.Row():
        with gr.Column(scale=3):
            told = gr.HTML("", elem_id="summary", **FIGURE)
        with gr.Column(scale=2, min_width=280):
            drawn = gr.HTML(trace({}, on_circumplex(places)), elem_id="trace", **FIGURE)
    with gr.Tabs(overflow_behavior="wrap"):
        with gr.Tab("Word by word"):
            tint = gr.Dropdown([*AXES, *places], value="valence", label="Tint each word by", elem_id="tint")
            with gr.Row():
                texts = [
                    gr.HTML("", elem_id=f"strip-{voice}", min_width=280, js_on_load=STRIP_JS, **FIGURE)
                    for voice in VOICES
                ]
        with gr.Tab("Why this word"):
            reasons = gr.HTML("", elem_id="why", js_on_load=STRIP_JS, **FIGURE)
        with gr.Tab("The same in Python"):
            code = gr.Code(
                "",
                language="python",
                label="Gives the answer in tone",
                interactive=False,
                wrap_lines=True,
                elem_id="code",
            )
    tint.input(strips, [kept, tint], texts, **SWIFT)
    return See(tint, kept, drawn, [told, drawn, *texts, reasons, code])
