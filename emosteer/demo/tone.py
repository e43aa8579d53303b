"""The tone that a visitor has set: for the library, in words, and as Python."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer.demo.pairs import on_circumplex, places_of
from emosteer.steering.recipes import DEFAULT

if TYPE_CHECKING:
    from emosteer.vectors.emotion_vectors import EmotionVectors

MOST = 5
"""Largest number of emotions in a mix."""

STRONGEST = 2.0
"""Largest strength that can be set here, in doses. Beyond it the text degrades."""

__all__ = ["MOST", "STRONGEST", "Curve", "Mix", "Point", "Setting", "chat_call", "recipe_for", "steered_where"]


@dataclass(frozen=True)
class Point:
    """A point of the circumplex. Its distance from the centre is the strength."""

    valence: float = 0.0
    arousal: float = 0.0
    natural: bool = True

    @property
    def emotion(self) -> Any:
        """The argument for `SteeredModel.chat`."""
        from emosteer import Affect

        return Affect(self.valence, self.arousal) if self.valence or self.arousal else None

    def words(self) -> str:
        """Describe the tone in words."""
        if self.emotion is None:
            return "no tone"
        pleasant = "pleasant" if self.valence >= 0 else "unpleasant"
        stirred = "stirred up" if self.arousal >= 0 else "still"
        strength = min(1.0, math.hypot(self.valence, self.arousal))
        return f"valence {self.valence:+.2f} ({pleasant}), arousal {self.arousal:+.2f} ({stirred}), {strength:.0%} dose"

    def code(self) -> str:
        """Return the tone as Python."""
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
        """The argument for `SteeredModel.chat`."""
        return {name: strength for name, strength in self.strengths if strength} or None

    def words(self) -> str:
        """Describe the tone in words."""
        return " and ".join(f"{name} {strength:+.2g}" for name, strength in (self.emotion or {}).items()) or "no tone"

    def code(self) -> str:
        """Return the tone as Python."""
        return repr(self.emotion)


@dataclass(frozen=True)
class Curve:
    """A change from one emotion to another over the first tokens of the answer. None is no tone."""

    start: str | None = None
    end: str | None = None
    strength: float = 1.0
    tokens: int = 60
    natural: bool = False  # recipes need a constant tone

    @property
    def emotion(self) -> Any:
        """The argument for `SteeredModel.chat`."""
        from emosteer import Keyframes

        tones = {0.0: self._tone(self.start), float(self.tokens): self._tone(self.end)}
        return Keyframes({**tones}) if any(tones.values()) else None

    def words(self) -> str:
        """Describe the tone in words."""
        if self.emotion is None:
            return "no tone"
        return (
            f"{self.start or 'no tone'} → {self.end or 'no tone'} over {self.tokens} tokens, {self.strength:.2g} doses"
        )

    def code(self) -> str:
        """Return the tone as Python."""
        if self.emotion is None:
            return "None"
        return f"emosteer.Keyframes({{0: {self._tone(self.start)!r}, {self.tokens}: {self._tone(self.end)!r}}})"

    def _tone(self, name: str | None) -> dict[str, float] | None:
        return {name: self.strength} if name and self.strength else None


Setting = Point | Mix | Curve


def recipe_for(setting: Setting) -> str | None:
    """Return the recipe for a tone: what conversations take by default, or None."""
    return DEFAULT if setting.natural and setting.emotion is not None else None


def chat_call(messages: Sequence[Mapping[str, str]], setting: Setting, options: Mapping[str, Any]) -> str:
    """Return the Python that gives the same answer with a model `steered`."""
    bare = recipe_for(setting) is None and setting.emotion is not None
    asked = repr(messages[0]["content"]) if len(messages) == 1 else repr([dict(message) for message in messages])
    arguments = [
        f"emotion={setting.code()}",
        *(["recipe=None"] if bare else []),
        *(f"{name}={value!r}" for name, value in options.items()),
    ]
    lines = "".join(f"    {argument},\n" for argument in (asked, *arguments))
    return f"answer = steered.chat(\n{lines})\nprint(answer)\n"


def steered_where(vectors: EmotionVectors, setting: Setting) -> str:
    """Describe in words how a tone changes the model."""
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
        text += (
            " The model is also asked for the tone in a system message, and of the words that were likely anyway, "
            "those of the tone are favoured."
        )
    return text


def _span(layers: Sequence[int]) -> str:
    return (
        f"{layers[0]} to {layers[-1]}" if len(layers) == layers[-1] - layers[0] + 1 > 1 else ", ".join(map(str, layers))
    )
