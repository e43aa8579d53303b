"""Tones that a caller may ask for, and the checks they pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emosteer.errors import ToneError, warn
from emosteer.models.token_positions import prompt
from emosteer.schedules import keyframes
from emosteer.steering.affect import Affect, mix
from emosteer.vectors.algebra import finite_strength
from emosteer.vectors.emotion_vectors import EmotionVectors

LOUD = 3.0
LIMIT = 10.0

Tone = Mapping[str, float]
"""Emotion → strength in calibrated doses: 1.0 is the strongest tone that reads naturally, negative steers away."""

__all__ = ["LIMIT", "LOUD", "Keyframes", "Tone", "ToneLike", "Turns", "checked", "copies_of_each", "named", "strengths"]


@dataclass(frozen=True)
class Keyframes:
    """A tone that changes along the answer, here from calm to joy over 80 tokens.

        Keyframes({0: {"calm": 1.0}, 80: {"joy": 1.0}})

    Strengths are interpolated linearly between positions and constant outside them. The prompt has the tone of the
    first. Position 0 is the first token of the answer.

    Args:
        tones: Position → tone, or None for no tone.

    Raises:
        ToneError: There are no keyframes, a position is not a finite number, or a tone is not one.
    """

    tones: Mapping[float, Tone | Affect | None]

    def __post_init__(self) -> None:
        if not isinstance(self.tones, Mapping) or not self.tones:
            raise ToneError(f"{self.tones!r} names no keyframes.", "Give positions and tones: {0: {'calm': 1.0}, …}.")
        keyframes(dict.fromkeys(self.tones, 0.0))  # checks the positions
        for tone in self.tones.values():
            if not (tone is None or isinstance(tone, (Mapping, Affect))):
                raise ToneError(f"{tone!r} is not the tone of a keyframe.", "Give one such as {'joy': 0.8}, or None.")

    def strengths(self, vectors: EmotionVectors) -> dict[str, dict[float, float]]:
        """Return emotion → position → strength, for every emotion named at any position."""
        tones = {position: strengths(vectors, tone) for position, tone in self.tones.items()}
        return {
            emotion: {position: tone.get(emotion, 0.0) for position, tone in tones.items()}
            for emotion in dict.fromkeys(emotion for tone in tones.values() for emotion in tone)
        }


@dataclass(frozen=True)
class Turns:
    """The turns of a conversation, each with its own tone.

    Args:
        turns: For each turn its tone, the position where it starts and the position where it ends, relative to the
            first token of the answer.
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
        """Return the turns of a prompt and of the answer that follows it.

        Args:
            tones: Tones of the messages.
            spans: Token positions at which each message starts and ends.
            answer: Tone of the answer.
            length: Number of tokens of the prompt; those after the last message belong to the answer.
        """
        turns = [
            (tone, float(start - length), float(end - length)) for tone, (start, end) in zip(tones, spans, strict=True)
        ]
        return cls((*turns, (answer, spans[-1][1] - length, math.inf)))


ToneLike = Tone | Affect | Keyframes | Sequence[Tone | Affect | Keyframes | None] | None
"""What `steer` takes: one tone for all rows, or a list with one for each row of the batch."""


def named(vectors: EmotionVectors, tone: Tone | Affect | None) -> Tone:
    """Return a tone as emotions and strengths.

    Raises:
        ToneError: An affect cannot be mixed from these vectors.
    """
    return mix(vectors, tone) if isinstance(tone, Affect) else tone or {}


def copies_of_each(tones: int, rows: int) -> int:
    """Return how many consecutive rows of a batch share each tone.

    Beams and returned sequences are adjacent: row 0 k times, row 1 k times, … Inside `generate`, there must be as many
    tones as rows that it was given.

    Args:
        tones: Number of tones.
        rows: Number of rows in the batch.

    Raises:
        ToneError: The rows cannot be divided evenly among the tones, or they are not those that were given.
    """
    call = prompt.get()
    given = None if call is None or tones == 1 else call.rows
    copies, remainder = divmod(rows, tones)
    if remainder or not copies or given not in (None, tones):
        raise ToneError(f"There are {tones} tones for a batch of {given or rows} rows.", "Give one for each row.")
    return copies


class _Checked(float):
    """A strength that has passed `checked`, and need not be told of again."""


def checked(emotion: str, value: object, *, factor: float = 1.0, affect: Affect | None = None) -> float:
    """Return a strength that a model can be steered with; warn if it is beyond ±`LOUD`.

    Args:
        emotion: Of which.
        value: What the caller gave. A strength that was returned from here is returned as it is.
        factor: What a recipe multiplies it by.
        affect: The affect that it is a part of, if the caller gave one.

    Raises:
        ToneError: The value is not a finite number, or beyond ±`LIMIT` with or without the factor.
    """
    if isinstance(value, _Checked):
        return value
    written = finite_strength(emotion, value)
    strength, hint = written * factor, "1.0 is the calibrated dose."
    said = (
        f"The strength of {emotion!r} is {written:g}" if affect is None else f"{affect} takes {written:g} {emotion!r}"
    )
    if abs(strength) > abs(written):
        said, hint = (
            f"{said} times {factor:g} by the recipe",
            f"{hint} The recipe takes up to ±{LIMIT / abs(factor):.3g}.",
        )
    if max(abs(written), abs(strength)) > LIMIT:
        raise ToneError(f"{said}, beyond ±{LIMIT:g}, where no language is left.", hint)
    if max(abs(written), abs(strength)) > LOUD:
        warn(f"{said}: beyond ±{LOUD:g} doses text falls apart.")
    return _Checked(strength)


def strengths(vectors: EmotionVectors, tone: Tone | Affect | None, factor: float = 1.0) -> dict[str, float]:
    """Return a tone as emotions and strengths that have passed `checked`.

    Args:
        vectors: The vectors of the emotions.
        tone: The tone.
        factor: What a recipe multiplies it by.

    Raises:
        ToneError: A strength cannot be given, or an affect cannot be mixed from these vectors.
    """
    affect = tone if isinstance(tone, Affect) else None
    tones = named(vectors, tone).items()
    return {emotion: checked(emotion, value, factor=factor, affect=affect) for emotion, value in tones}
