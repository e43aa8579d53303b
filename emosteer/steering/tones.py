"""What one may ask for: a tone, one that changes along the answer, or a point of valence and arousal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emosteer.errors import ToneError, warn
from emosteer.schedules import keyframes
from emosteer.steering.affect import Affect, mix
from emosteer.vectors.algebra import finite_strength
from emosteer.vectors.emotion_vectors import EmotionVectors

LOUD = 3.0
LIMIT = 10.0

Tone = Mapping[str, float]
"""Emotion → strength in calibrated doses: 1.0 is the strongest tone that reads naturally, negative steers away."""

__all__ = ["LIMIT", "LOUD", "Keyframes", "Tone", "Turns", "Wanted", "checked", "copies_of_each", "named"]


@dataclass(frozen=True)
class Keyframes:
    """A tone that changes along the answer: from calm to joy over 80 tokens is.

        Keyframes({0: {"calm": 1.0}, 80: {"joy": 1.0}})

    Strengths are linear between the places and level outside; the prompt has those of the first. Place 0 is the first
    token of the answer.

    Args:
        tones: Place → tone, or None for no tone.

    Raises:
        ToneError: There are no keyframes, or a place is not a finite number.
    """

    tones: Mapping[float, Tone | Affect | None]

    def __post_init__(self) -> None:
        if not isinstance(self.tones, Mapping) or not self.tones:
            raise ToneError(f"{self.tones!r} names no keyframes.", "Give places and tones: {0: {'calm': 1.0}, …}.")
        keyframes(dict.fromkeys(self.tones, 0.0))  # refuses places that are none
        for tone in self.tones.values():
            if not (tone is None or isinstance(tone, (Mapping, Affect))):
                raise ToneError(f"{tone!r} is not the tone of a keyframe.", "Give one such as {'joy': 0.8}, or None.")

    def strengths(self, vectors: EmotionVectors) -> dict[str, dict[float, float]]:
        """Emotion → place → strength, for every emotion that has one at some place."""
        tones = {place: named(vectors, tone) for place, tone in self.tones.items()}
        return {
            emotion: {place: checked(emotion, tone.get(emotion, 0.0)) for place, tone in tones.items()}
            for emotion in dict.fromkeys(emotion for tone in tones.values() for emotion in tone)
        }


@dataclass(frozen=True)
class Turns:
    """The turns of a conversation, each in a tone of its own.

    Args:
        turns: The tone of each, the place where it begins and the one where it ends.
    """

    turns: tuple[tuple[Tone | Affect | Keyframes | None, float, float], ...]

    @classmethod
    def of(
        cls,
        tones: Sequence[Tone | Affect | Keyframes | None],
        spans: Sequence[tuple[int, int]],
        answer: Tone | Affect | Keyframes | None,
        length: int,
    ) -> Turns:
        """Put together the turns of a prompt and the answer that follows.

        Args:
            tones: Of the messages.
            spans: Where each message begins and ends, as token positions.
            answer: Tone of the answer.
            length: Tokens of the prompt; what follows the last message belongs to the answer.
        """
        places = [
            (tone, float(start - length), float(end - length)) for tone, (start, end) in zip(tones, spans, strict=True)
        ]
        return cls((*places, (answer, spans[-1][1] - length, math.inf)))


def named(vectors: EmotionVectors, tone: Tone | Affect | None) -> Tone:
    """A tone by the names of its emotions.

    Raises:
        ToneError: An affect cannot be mixed from these vectors.
    """
    return mix(vectors, tone) if isinstance(tone, Affect) else tone or {}


def copies_of_each(tones: int, rows: int) -> int:
    """Return how many rows of a batch have each tone.

    Beams and returned sequences stand next to each other: row 0 k times, row 1 k times, …

    Args:
        tones: How many there are.
        rows: Of the batch.

    Raises:
        ToneError: The rows cannot be shared out evenly.
    """
    copies, rest = divmod(rows, tones)
    if rest or not copies:
        raise ToneError(f"There are {tones} tones for a batch of {rows} rows.", "Give one for each row.")
    return copies


def checked(emotion: str, given: object) -> float:
    """A strength that a model can be steered with.

    Raises:
        ToneError: It is not a finite number up to ±10.
    """
    strength = finite_strength(emotion, given)
    if abs(strength) > LIMIT:
        raise ToneError(
            f"The strength of {emotion!r} is {strength:g}, beyond ±{LIMIT:g} there is no language left.",
            "1.0 is the calibrated dose.",
        )
    if abs(strength) > LOUD:
        warn(f"The strength of {emotion!r} is {strength:g}: beyond ±{LOUD:g} doses text falls apart.")
    return strength


Wanted = Tone | Affect | Keyframes | Sequence[Tone | Affect | Keyframes | None] | None
"""What `steer` takes: one for all rows, or a list with one for each row of the batch."""
