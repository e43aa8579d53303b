"""The tone that a visitor has set: as the library takes it, in plain words, and as Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer.demo.pairs import on_circumplex, places_of

if TYPE_CHECKING:
    from emosteer.vectors.emotion_vectors import EmotionVectors

MOST = 5
"""Emotions in one mix."""

STRONGEST = 2.0
"""Doses that can be set here; the library goes further, the text does not."""

__all__ = ["MOST", "STRONGEST", "Curve", "Mix", "Point", "Setting", "chat_call", "recipe_for", "steered_where"]


@dataclass(frozen=True)
class Point:
    """A place on the circumplex; the distance from its centre is the strength."""

    valence: float = 0.0
    arousal: float = 0.0
    natural: bool = True

    @property
    def emotion(self) -> Any:
        """As `SteeredModel.chat` takes it."""
        from emosteer import Affect

        return Affect(self.valence, self.arousal) if self.valence or self.arousal else None

    def words(self) -> str:
        """In plain words."""
        if self.emotion is None:
            return "no tone"
        pleasant = "pleasant" if self.valence >= 0 else "unpleasant"
        stirred = "stirred up" if self.arousal >= 0 else "still"
        strength = min(1.0, math.hypot(self.valence, self.arousal))
        return f"valence {self.valence:+.2f} ({pleasant}), arousal {self.arousal:+.2f} ({stirred}), {strength:.0%} dose"

    def code(self) -> str:
        """As Python."""
        return (
            "None" if self.emotion is None else f"emosteer.Affect(valence={self.valence!r}, arousal={self.arousal!r})"
        )


@dataclass(frozen=True)
class Mix:
    """Emotions with their strengths, in calibrated doses."""

    strengths: tuple[tuple[str, float], ...] = ()
    natural: bool = True

    @property
    def emotion(self) -> dict[str, float] | None:
        """As `SteeredModel.chat` takes it."""
        return {name: strength for name, strength in self.strengths if strength} or None

    def words(self) -> str:
        """In plain words."""
        return " and ".join(f"{name} {strength:+.2g}" for name, strength in (self.emotion or {}).items()) or "no tone"

    def code(self) -> str:
        """As Python."""
        return repr(self.emotion)


@dataclass(frozen=True)
class Curve:
    """From one emotion to another over the first tokens of the answer; no name is no tone."""

    start: str | None = None
    end: str | None = None
    strength: float = 1.0
    tokens: int = 60
    natural: bool = False  # a recipe is made for a tone that is the same along the answer

    @property
    def emotion(self) -> Any:
        """As `SteeredModel.chat` takes it."""
        from emosteer import Keyframes

        tones = {0.0: self._tone(self.start), float(self.tokens): self._tone(self.end)}
        return Keyframes({**tones}) if any(tones.values()) else None

    def words(self) -> str:
        """In plain words."""
        if self.emotion is None:
            return "no tone"
        return (
            f"{self.start or 'no tone'} → {self.end or 'no tone'} over {self.tokens} tokens, {self.strength:.2g} doses"
        )

    def code(self) -> str:
        """As Python."""
        if self.emotion is None:
            return "None"
        return f"emosteer.Keyframes({{0: {self._tone(self.start)!r}, {self.tokens}: {self._tone(self.end)!r}}})"

    def _tone(self, name: str | None) -> dict[str, float] | None:
        return {name: self.strength} if name and self.strength else None


Setting = Point | Mix | Curve


def recipe_for(setting: Setting) -> str | None:
    """The recipe that a tone is given by."""
    return "natural" if setting.natural and setting.emotion is not None else None


def chat_call(messages: Sequence[Mapping[str, str]], setting: Setting, options: Mapping[str, Any]) -> str:
    """The Python that gives the same answer, once `steered` is there."""
    recipe = recipe_for(setting)
    asked = repr(messages[0]["content"]) if len(messages) == 1 else repr([dict(one) for one in messages])
    arguments = [
        f"emotion={setting.code()}",
        *([f"recipe={recipe!r}"] if recipe else []),
        *(f"{name}={value!r}" for name, value in options.items()),
    ]
    lines = "".join(f"    {argument},\n" for argument in (asked, *arguments))
    return f"answer = steered.chat(\n{lines})\nprint(answer)\n"


def steered_where(vectors: EmotionVectors, setting: Setting) -> str:
    """What is done to the model for a tone, in plain words."""
    if setting.emotion is None:
        return "Nothing is added: this is the plain model."
    if isinstance(setting, Point):
        names = list(on_circumplex(places_of(vectors)))
        if not names:
            return "Nothing can be added: nobody has rated the emotions of these vectors."
        what = f"A mix of the {len(names)} emotions that people have rated"
    elif isinstance(setting, Curve):
        names = list(dict.fromkeys(name for name in (setting.start, setting.end) if name))
        what = f"The direction{'s' * (len(names) > 1)} of {' and '.join(names)}"
    else:
        names = list(setting.emotion or {})
        what = f"The direction{'s' * (len(names) > 1)} of {', '.join(names)}"
    doses = [vectors.dose(name) for name in names]
    layers = sorted({layer for dose in doses for layer in dose.layers})
    shares = [dose.dose for dose in doses]
    calibrated = all(name in vectors.doses for name in names)
    low, high = min(shares), max(shares)
    amount = f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"
    text = (
        f"{what} {'are' if len(names) > 1 and not isinstance(setting, Point) else 'is'} added to what the model thinks "
        f"after {len(layers)} of its {vectors.base_model.num_hidden_layers} layers ({_span(layers)}). A full dose is "
        f"{amount} of the usual length of those thoughts, "
        f"{'measured on this model' if calibrated else 'a fallback that has not been measured on this model'}."
    )
    if recipe_for(setting):
        text += " The natural recipe then favours the emotion's words among those that were likely anyway."
    return text


def _span(layers: Sequence[int]) -> str:
    return (
        f"{layers[0]} to {layers[-1]}" if len(layers) == layers[-1] - layers[0] + 1 > 1 else ", ".join(map(str, layers))
    )
