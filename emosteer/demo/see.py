"""The views below the two voices: the emotions read in them, the cost of the tone, and the reason for each word."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from emosteer.demo.events import FIGURE, SWIFT, status_line
from emosteer.demo.figures.circumplex import trace
from emosteer.demo.figures.reasons import why
from emosteer.demo.figures.tokens import STRIP_JS, strip, table
from emosteer.demo.readings import Seen, path, seen
from emosteer.demo.state import VOICES, Conversation, Visit
from emosteer.demo.studio import Pair, Places, Studio, on_circumplex, places_of
from emosteer.demo.tone import chat_call, steered_where

if TYPE_CHECKING:
    from emosteer import SteeredModel
    from emosteer.reading.emotion_reading import EmotionReading

AXES = ("valence", "arousal")
STRONGEST = 3  # emotions named beside a word
NAMED = {"plain": "Plain", "toned": "In tone"}
FULL_AXIS, FULL = 0.8, 6.0  # score of full tint: of valence or arousal, and of an emotion in standard deviations
TOO_SHORT = "<p class='em-empty'>Too short to be read.</p>"

__all__ = ["AXES", "See", "cleared", "described", "see", "tinted"]


@dataclass(frozen=True)
class See:
    """The components."""

    tint: gr.Dropdown
    kept: gr.State
    drawn: gr.HTML
    outputs: list[Any]

    @property
    def named(self) -> list[Any]:
        """The components that depend on the vectors, in the order of `cleared`."""
        return [self.tint, self.kept, *self.outputs]

    def read(self, studio: Studio) -> Callable[..., tuple[Any, ...]]:
        """Return the event handler that reads the last answers, unless they have been read, and fills the views."""

        def fill(pair: Pair, visit: Visit, kept: Seen, tint: str) -> tuple[Any, ...]:
            scene, conversation = visit.scene, visit.scene.conversation
            last = conversation.last
            silent = last is not None and not any(last.answers.values())
            nothing = (gr.skip(),) * (2 + len(self.outputs))
            if scene.due or silent:  # read when the answer has come
                return nothing
            done = f"In tone: {last.setting.words()}." if last else scene.status
            if last == kept.turn:
                return *nothing[1:], status_line(done)
            steered = studio.get(pair)
            now = seen(steered, conversation)
            filled = pictures(now, conversation, pair, steered, tint)
            if visit.scene is not scene:
                return nothing
            scene.status = done
            return now, *filled, status_line(done)

        return fill


def pictures(now: Seen, conversation: Conversation, pair: Pair, steered: SteeredModel, tint: str) -> list[str]:
    """Return the content of every output."""
    last = conversation.last
    places = on_circumplex(places_of(steered.vectors))
    if last is None:
        return ["", trace({}, places), "", "", "", ""]
    ways = {voice: path(reading) for voice, reading in now.readings.items()}
    return [
        summary(now, steered_where(steered.vectors, last.setting), last.setting.words()),
        trace(ways, places),
        *strips(now, tint),
        "" if now.why is None else why(**vars(now.why)),
        pair.code() + chat_call(conversation.asking("toned"), last.setting, last.sampling.options()),
    ]


def cleared(places: Places) -> list[Any]:
    """Return the empty views, for the emotions of other vectors."""
    nothing = trace({}, on_circumplex(places))
    return [gr.update(choices=[*AXES, *places], value="valence"), Seen({}, {}, None), "", nothing, "", "", "", ""]


def strips(kept: Seen, tint: str) -> list[str]:
    """Return the HTML of both answers, with each word tinted by its score, and a table of the scores."""
    return [
        tinted(kept.readings[voice], tint, NAMED[voice]) if voice in kept.readings else TOO_SHORT for voice in VOICES
    ]


def tinted(reading: EmotionReading, tint: str, name: str) -> str:
    """Return the HTML of a text, with each word tinted by its score, and a table of the scores.

    Args:
        reading: Reading of the text.
        tint: An emotion or an axis; valence if it is neither.
        name: Heading of the text.
    """
    scores = {**reading.token_scores, **reading.token_axes}
    tint = tint if tint in scores else next(iter(reading.token_axes or scores))
    details = [
        ", ".join(f"{emotion} {score:+.1f}" for emotion, score in _strongest(reading.token_scores, i))
        for i in range(len(reading.tokens))
    ]
    rows = [row for row in zip(reading.tokens, scores[tint], details, strict=True) if row[0]]
    return (
        f"<h3 class='em-title'>{html.escape(name)}</h3>"
        + strip(reading.tokens, scores[tint], label=tint, scale=FULL_AXIS if tint in AXES else FULL, details=details)
        + "<details class='em-details'><summary>The same as a table</summary>"
        + table(["word", tint, "strongest emotions"], rows, f"{name}: {tint} of each word")
        + "</details>"
    )


def summary(now: Seen, where: str, words: str) -> str:
    """Describe in words what was steered and what it cost."""
    lines = [f"<p><b>{html.escape(words)}.</b> {html.escape(where)}</p>"]
    if (cost := now.cost) is not None and math.isfinite(cost):
        plain, toned = (now.costs[voice] for voice in VOICES)
        feeling = "no more than" if cost <= 0.05 else "a little more than" if cost <= 0.5 else "clearly more than"
        lines.append(
            f"<p><b>Fluency:</b> {toned:.2f} nats a token in tone, {plain:.2f} plain: <b>{cost:+.2f}</b>. "
            f"To the plain model, the words in tone are surprising {feeling} its own (one answer; half a nat is what "
            "a calibrated dose may cost).</p>"
        )
    items = [f"<li><b>{NAMED[voice]}:</b> {described(reading)}</li>" for voice, reading in now.readings.items()]
    if items:
        lines.append(f"<p>Read in the words by the plain model:</p><ul>{''.join(items)}</ul>")
    return f"<div class='em-summary'>{''.join(lines)}</div>"


def described(reading: EmotionReading) -> str:
    """Return a line of HTML with the reading of a whole text."""
    top = sorted(reading.scores.items(), key=lambda item: -item[1])[:STRONGEST]
    axes = ""
    if reading.valence is not None and reading.arousal is not None:
        axes = f"valence {reading.valence:+.2f}, arousal {reading.arousal:+.2f}; "
    return axes + ", ".join(f"{html.escape(name)} {score:+.1f}" for name, score in top)


def _strongest(scores: Any, token: int) -> list[tuple[str, float]]:
    known = [(name, row[token]) for name, row in scores.items() if not math.isnan(row[token])]
    return sorted(known, key=lambda item: -item[1])[:STRONGEST]


def see(places: Places) -> See:
    """Lay out the views in the current block."""
    kept = gr.State(Seen({}, {}, None))
    with gr.Row():
        with gr.Column(scale=3):
            summarised = gr.HTML("", elem_id="summary", **FIGURE)
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
    return See(tint, kept, drawn, [summarised, drawn, *texts, reasons, code])
