"""Below the two voices: what is read in them, what the tone cost, and why each word."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from emosteer_demo.figures.circumplex import trace
from emosteer_demo.figures.reasons import why
from emosteer_demo.figures.tokens import STRIP_JS, strip, table
from emosteer_demo.readings import Seen, path, seen
from emosteer_demo.state import VOICES, Conversation
from emosteer_demo.studio import Pair, Places, Studio, on_circumplex, places_of
from emosteer_demo.told import SWIFT
from emosteer_demo.tone import chat_call, steered_where

if TYPE_CHECKING:
    from emosteer import SteeredModel

AXES = ("valence", "arousal")
STRONGEST = 3  # emotions that are named beside a word
NAMED = {"plain": "Plain", "toned": "In tone"}
SCALE = dict.fromkeys(AXES, 0.8)  # at which score a tint is full; emotions in standard deviations of neutral text
FULL = 6.0

__all__ = ["See", "cleared", "see"]


@dataclass(frozen=True)
class See:
    """The components."""

    tint: gr.Dropdown
    kept: gr.State
    drawn: gr.HTML
    tinted: list[gr.HTML]
    outputs: list[Any]

    @property
    def named(self) -> list[Any]:
        """What is of one set of vectors: what `cleared` gives."""
        return [self.tint, self.kept, *self.outputs]

    def read(self, studio: Studio) -> Callable[..., tuple[Any, ...]]:
        """The function that fills them: read the last answers, unless that has been done."""

        def fill(pair: Pair, said: Conversation, kept: Seen, tint: str) -> tuple[Any, ...]:
            if said.last == kept.turn:
                return (gr.skip(),) * (1 + len(self.outputs))
            steered = studio.get(pair)
            now = seen(steered, said)
            return now, *pictures(now, said, pair, steered, tint)

        return fill


def pictures(now: Seen, said: Conversation, pair: Pair, steered: SteeredModel, tint: str) -> list[str]:
    """What every output shows, in their order."""
    last = said.last
    places = on_circumplex(places_of(steered.vectors))
    if last is None:
        return ["", trace([], [], places), "", "", "", ""]
    paths = [path(now.readings[voice]) if voice in now.readings else [] for voice in VOICES]
    return [
        summary(now, steered_where(steered.vectors, last.setting), last.setting.words()),
        trace(*paths, places),
        *strips(now, tint),
        "" if now.why is None else why(**vars(now.why)),
        chat_call(pair.model, pair.source(), said.asking("toned"), last.setting, last.sampling.options()),
    ]


def cleared(places: Places) -> list[Any]:
    """Nothing seen yet, with the emotions of other vectors."""
    nothing = trace([], [], on_circumplex(places))
    return [gr.update(choices=[*AXES, *places], value="valence"), Seen({}, {}, None), "", nothing, "", "", "", ""]


def strips(seen_now: Seen, tint: str) -> list[str]:
    """Both answers, each word tinted by what is read in it, with a table of the numbers."""
    found = []
    for voice in VOICES:
        reading = seen_now.readings.get(voice)
        if reading is None:
            found.append("<p class='em-none'>Too short to be read.</p>")
            continue
        scores = reading.token_axes[tint] if tint in reading.token_axes else reading.token_scores[tint]
        details = [
            ", ".join(f"{name} {score:+.1f}" for name, score in _strongest(reading.token_scores, i))
            for i in range(len(reading.tokens))
        ]
        rows = [
            (token, "" if math.isnan(score) else f"{score:+.2f}", detail)
            for token, score, detail in zip(reading.tokens, scores, details, strict=True)
            if token
        ]
        found.append(
            strip(reading.tokens, scores, label=f"{NAMED[voice]}: {tint}", scale=SCALE.get(tint, FULL), details=details)
            + "<details class='em-more'><summary>The same as a table</summary>"
            + table(["word", tint, "strongest emotions"], rows, f"{NAMED[voice]}: {tint} of each word")
            + "</details>"
        )
    return found


def summary(seen_now: Seen, where: str, words: str) -> str:
    """What was steered and what it cost, in plain words."""
    lines = [f"<p><b>{html.escape(words)}.</b> {html.escape(where)}</p>"]
    if (cost := seen_now.cost) is not None and math.isfinite(cost):
        plain, toned = (seen_now.costs[voice] for voice in VOICES)
        feeling = "no more than" if cost <= 0.05 else "a little more than" if cost <= 0.5 else "clearly more than"
        lines.append(
            f"<p><b>Fluency:</b> {toned:.2f} nats a token in tone, {plain:.2f} plain: <b>{cost:+.2f}</b>. "
            f"To the plain model, the words in tone are surprising {feeling} its own (one answer; half a nat is what "
            "a calibrated dose may cost).</p>"
        )
    read = []
    for voice in VOICES:
        if (reading := seen_now.readings.get(voice)) is not None:
            top = sorted(reading.scores.items(), key=lambda item: -item[1])[:STRONGEST]
            axes = (
                "" if reading.valence is None else f"valence {reading.valence:+.2f}, arousal {reading.arousal:+.2f}; "
            )
            named = ", ".join(f"{html.escape(name)} {score:+.1f}" for name, score in top)
            read.append(f"<li><b>{NAMED[voice]}:</b> {axes}{named}</li>")
    if read:
        lines.append(f"<p>Read in the words by the plain model:</p><ul>{''.join(read)}</ul>")
    return f"<div class='em-summary'>{''.join(lines)}</div>"


def _strongest(scores: Any, token: int) -> list[tuple[str, float]]:
    here = [(name, row[token]) for name, row in scores.items() if not math.isnan(row[token])]
    return sorted(here, key=lambda item: -item[1])[:STRONGEST]


def see(places: Places) -> See:
    """Lay the views out, in the block that is open."""
    kept = gr.State(Seen({}, {}, None))
    with gr.Row():
        with gr.Column(scale=3):
            told = gr.HTML("", elem_id="summary")
        with gr.Column(scale=2, min_width=280):
            drawn = gr.HTML(trace([], [], on_circumplex(places)), elem_id="trace")
    with gr.Tabs():
        with gr.Tab("Word by word"):
            tint = gr.Dropdown([*AXES, *places], value="valence", label="Tint each word by", filterable=True)
            with gr.Row():
                tinted = [
                    gr.HTML("", label=NAMED[voice], show_label=True, elem_id=f"strip-{voice}", js_on_load=STRIP_JS)
                    for voice in VOICES
                ]
        with gr.Tab("Why this word"):
            reasons = gr.HTML("", elem_id="why", js_on_load=STRIP_JS)
        with gr.Tab("The same in Python"):
            code = gr.Code("", language="python", label="Gives the answer in tone", interactive=False, elem_id="code")
    tint.input(strips, [kept, tint], tinted, **SWIFT)
    return See(tint, kept, drawn, tinted, [told, drawn, *tinted, reasons, code])
