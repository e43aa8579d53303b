"""Readings of both voices after an answer: emotion, cost, and the reason for each word."""

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
"""Number of tokens that each point of a trace is the mean of. Single tokens vary a lot."""

__all__ = ["Seen", "path", "seen"]


@dataclass(frozen=True)
class Seen:
    """What the plain model reads in the last answers.

    Args:
        readings: Voice → reading of its answer.
        costs: Voice → mean negative log-likelihood of its answer, in nats a token.
        why: Probability of each word of the toned answer, with and without the tone.
        turn: The turn of these answers.
    """

    readings: Mapping[str, EmotionReading]
    costs: Mapping[str, float]
    why: Explanation | None
    turn: Turn | None = None

    @property
    def cost(self) -> float | None:
        """The cost of the tone: nats a token above the plain answer."""
        return self.costs["toned"] - self.costs["plain"] if len(self.costs) == len(VOICES) else None


def seen(steered: SteeredModel, conversation: Conversation) -> Seen:
    """Read the answers of the last turn. One that is too short to be read is left out."""
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
    """Return valence and arousal along a text. Each point is the mean of the last eight tokens."""
    axes = list(zip(*(reading.token_axes.get(axis, ()) for axis in ("valence", "arousal")), strict=True))
    known = [point for point in axes if not any(map(math.isnan, point))]
    points = []
    for end in range(min(WINDOW, len(known)), len(known) + 1):
        part = known[max(0, end - WINDOW) : end]
        if part:
            points.append((sum(v for v, _ in part) / len(part), sum(a for _, a in part) / len(part)))
    return points
