"""What is read in both voices when they have finished: emotion, cost, and why each word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emosteer.demo.state import VOICES, Conversation, Turn
from emosteer.demo.tone import recipe_for
from emosteer.errors import InputError
from emosteer.eval.fluency import nats_per_token

if TYPE_CHECKING:
    from emosteer import SteeredModel
    from emosteer.reading.emotion_reading import EmotionReading
    from emosteer.reading.explain import Explanation

WINDOW = 8
"""Tokens that one point of a trace is the mean of: single ones jump about."""

__all__ = ["Seen", "path", "seen"]


@dataclass(frozen=True)
class Seen:
    """What the plain model makes of the last answers.

    Args:
        readings: Voice → what is read in its answer.
        costs: Voice → how surprising its answer is, in nats a token.
        why: Each word of the toned answer, with and without the tone.
        turn: Whose answers they are.
    """

    readings: Mapping[str, EmotionReading]
    costs: Mapping[str, float]
    why: Explanation | None
    turn: Turn | None = None

    @property
    def cost(self) -> float | None:
        """What the tone cost, in nats a token more than the plain answer."""
        return self.costs["toned"] - self.costs["plain"] if len(self.costs) == len(VOICES) else None


def seen(steered: SteeredModel, conversation: Conversation) -> Seen:
    """Read the last turn; an answer that is too short to be read is left out."""
    turn = conversation.last
    if turn is None:
        return Seen({}, {}, None)
    readings, costs, why = {}, {}, None
    for voice in VOICES:
        try:
            readings[voice] = steered.read(turn.answers[voice])
        except InputError:  # not a word, or only one
            continue
        messages = conversation.asking(voice)
        costs[voice] = nats_per_token(steered, messages, turn.answers[voice])
        if voice == "toned":
            why = steered.explain(
                messages,
                turn.answers[voice],
                emotion=turn.setting.emotion,
                recipe=recipe_for(turn.setting),
                temperature=turn.sampling.temperature or 1.0,
            )
    return Seen(readings, costs, why, turn)


def path(reading: EmotionReading) -> list[tuple[float, float]]:
    """Valence and arousal along a text, each point the mean of the last eight tokens."""
    axes = list(zip(*(reading.token_axes.get(axis, ()) for axis in ("valence", "arousal")), strict=True))
    known = [point for point in axes if not any(map(math.isnan, point))]
    found = []
    for end in range(min(WINDOW, len(known)), len(known) + 1):
        part = known[max(0, end - WINDOW) : end]
        if part:
            found.append((sum(v for v, _ in part) / len(part), sum(a for _, a in part) / len(part)))
    return found
