"""The tone of a request: how it is written, checked, and made one of a kind.

    {"emotion": {"joy": 0.8}, "scope": "generated", "schedule": {"ramp": 40}}

is a tone as a client writes it, in the body of a request or as a JSON string; `"joy=0.8,calm=-0.2"` is its short form.
Equal tones have equal canonical bytes, however they were written.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from emosteer._util import strict_json
from emosteer._util.numbers import is_finite_number
from emosteer.errors import InputError, ToneError
from emosteer.schedules import Schedule, decay, keyframes, window
from emosteer.steering.affect import Affect
from emosteer.steering.recipes import DEFAULT, RECIPES
from emosteer.steering.tones import LIMIT, Tone
from emosteer.vectors.types import SCOPES

FIELDS = ("emotion", "valence", "arousal", "strength", "scope", "schedule", "recipe")
SCHEDULES = ("ramp", "keyframes", "decay", "window")
XARGS, XARG = "vllm_xargs", "emosteer"
LONGEST = 8_192
"""Characters that a tone may have as text."""
MOST_PARTS = 128
"""Emotions of a tone, and keyframes of a schedule."""
FARTHEST = 1e6
"""Largest position and factor of a schedule."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)

__all__ = ["FIELDS", "Rules", "ToneRequest", "of_body", "parse", "request"]


@dataclass(frozen=True)
class ToneRequest:
    """The tone that a request asks for.

    Args:
        emotions: Emotion and strength, sorted. Those at strength 0 are none, but their names are checked.
        affect: A point of valence and arousal, instead of emotions.
        scope: The tokens that are steered, or None for those of each dose.
        curve: The schedule: its kind, `"keyframes"`, `"decay"` or `"window"`, and its numbers.
        recipe: The name of a recipe, None for the bare dose, or `DEFAULT` for the server's choice.
    """

    emotions: tuple[tuple[str, float], ...] = ()
    affect: Affect | None = None
    scope: str | None = None
    curve: tuple[str, tuple[Any, ...]] | None = None
    recipe: str | None = DEFAULT

    def __bool__(self) -> bool:
        """Return whether any tone is asked for."""
        return bool(self.affect or any(strength for _, strength in self.emotions))

    @property
    def tone(self) -> Tone | Affect:
        """The tone as steering takes it."""
        return self.affect or {name: strength for name, strength in self.emotions if strength}

    @property
    def schedule(self) -> Schedule | None:
        """The schedule as steering takes it."""
        if self.curve is None:
            return None
        kind, numbers = self.curve
        if kind == "keyframes":
            return keyframes(dict(numbers))
        return decay(*numbers) if kind == "decay" else window(*numbers)

    @property
    def canonical(self) -> str:
        """JSON that is the same for the same tone, and a valid way of writing it."""
        if not self:
            return "{}"
        fields: dict[str, Any] = {"emotion": self.tone}
        if self.affect:
            fields = {"valence": self.affect.valence, "arousal": self.affect.arousal}
        if self.scope:
            fields["scope"] = self.scope
        if self.curve:
            kind, numbers = self.curve
            written: Any = {str(place): factor for place, factor in numbers} if kind == "keyframes" else numbers[0]
            if kind == "window":
                written = [number if math.isfinite(number) else None for number in numbers]
            fields["schedule"] = {kind: written}
        if self.recipe != DEFAULT:
            fields["recipe"] = self.recipe
        return strict_json.canonical(fields)

    def digest(self, vectors: str) -> str:
        """Return a digest of what the tone makes of a prompt, by which caches can be kept apart.

        Args:
            vectors: A digest of the vectors.
        """
        return hashlib.sha256(f"{vectors}\n{self.canonical}".encode()).hexdigest()


@dataclass(frozen=True)
class Rules:
    """What an operator allows, and what requests without a tone get.

    Args:
        strength: Largest strength of an emotion, at any point of a schedule.
        emotions: Emotions that may be asked for, or None for all.
        default: The tone of requests that say nothing about it; `{"emotion": {}}` is a wish for none.

    Raises:
        InputError: The strength is not a number from 0 to 10.
    """

    strength: float = LIMIT
    emotions: Collection[str] | None = None
    default: ToneRequest = ToneRequest()

    def __post_init__(self) -> None:
        if not is_finite_number(self.strength) or not 0 < self.strength <= LIMIT:
            raise InputError(f"The largest strength is {self.strength!r}, expected one above 0, up to {LIMIT:g}.")

    def check(self, asked: ToneRequest, known: Collection[str]) -> None:
        """Check a tone against these rules.

        Args:
            asked: The tone.
            known: The emotions of the vectors.

        Raises:
            ToneError: An emotion is unknown or not allowed, or a strength is too large.
        """
        allowed = [name for name in known if self.emotions is None or name in self.emotions]
        peak = 1.0
        if asked.curve and asked.curve[0] == "keyframes":
            peak = max(1.0, *(abs(factor) for _, factor in asked.curve[1]))
        if asked.affect and (peak > 1 or self.emotions is not None):
            raise ToneError(
                "A tone of valence and arousal mixes all emotions, up to its own strength.",
                "Name emotions instead, or leave out factors beyond 1.",
            )
        for name, strength in asked.emotions:
            if name not in allowed:
                problem = "is not allowed here" if name in known else "is unknown"
                raise ToneError(f"The emotion {name!r:.60} {problem}.", f"Choose from: {', '.join(allowed)}.")
            if abs(strength) * peak > self.strength:
                raise ToneError(
                    f"The strength of {name!r} is {strength:g}{f' times {peak:g}' if peak > 1 else ''}, "
                    f"up to ±{self.strength:g} is allowed.",
                    "1.0 is the calibrated dose.",
                )


def request(
    emotion: Mapping[str, float] | None = None,
    *,
    valence: float | None = None,
    arousal: float | None = None,
    strength: float | None = None,
    scope: str | None = None,
    schedule: Mapping[str, Any] | None = None,
    recipe: str | None = DEFAULT,
) -> dict[str, str]:
    """Return a tone as clients send it, to this server or to vLLM.

        tone = emosteer.serving.request({"joy": 0.8})
        client.chat.completions.create(…, extra_body={"vllm_xargs": tone})  # over HTTP
        SamplingParams(extra_args=tone)  # in Python

    Args:
        emotion: Emotion → strength in calibrated doses.
        valence: Instead of emotions: −1 to 1.
        arousal: As valence.
        strength: Multiplies all of these.
        scope: `"all"`, `"prompt"` or `"generated"` tokens, instead of those of each dose.
        schedule: One of `{"ramp": 40}`, `{"keyframes": {"0": 0, "40": 1}}`, `{"decay": 40}`, `{"window": [0, 40]}`.
        recipe: The name of a recipe, or None for the bare dose; by default the server's choice.

    Raises:
        ToneError: The tone cannot be given.
    """
    fields: dict[str, Any] = {"emotion": emotion, "valence": valence, "arousal": arousal, "strength": strength}
    return {XARG: parse({**fields, "scope": scope, "schedule": schedule, "recipe": recipe}).canonical}


def of_body(body: Mapping[str, Any]) -> ToneRequest | None:
    """Return the tone that the body of a request asks for, at its top or under `vllm_xargs`; None if it says nothing.

    Raises:
        ToneError: It cannot be given.
    """
    top = {name: body[name] for name in FIELDS if name in body}
    xargs = body.get(XARGS)
    if xargs is None:
        xargs = {}
    if not isinstance(xargs, Mapping) or set(xargs) - {XARG}:
        raise ToneError(f"{XARGS} is {xargs!r:.60}, expected an object with {XARG} alone.", _EXAMPLE)
    inner = xargs.get(XARG)
    if inner is None:
        return parse(top) if any(value is not None for value in top.values()) or "recipe" in top else None
    if any(value is not None for value in top.values()) or "recipe" in top:
        raise ToneError(f"There is a tone at the top of the body and another in {XARGS}.", "Leave out one of them.")
    if not isinstance(inner, str):
        raise ToneError(f"{XARG} in {XARGS} is {inner!r:.60}, expected a text.", _EXAMPLE)
    return parse(inner)


_EXAMPLE = """As {"vllm_xargs": {"emosteer": "joy=0.8"}}, or JSON in that text."""


def parse(written: str | Mapping[str, Any]) -> ToneRequest:
    """Return the tone that a client has written, as JSON or in the short form.

    Raises:
        ToneError: It is none.
    """
    if isinstance(written, str):
        if len(written) > LONGEST:
            raise ToneError(f"The tone has {len(written)} characters, up to {LONGEST} are read.", "Shorten it.")
        if not written.lstrip().startswith("{"):
            return _tone({"emotion": _short(written)})
        try:
            written = strict_json.loads(written)
        except ValueError as error:
            raise ToneError(f"The tone is no JSON: {error}.", 'As {"emotion": {"joy": 0.8}}, or joy=0.8.') from None
    if not isinstance(written, Mapping):
        raise ToneError(f"The tone is {written!r:.60}, expected an object.", 'As {"emotion": {"joy": 0.8}}.')
    return _tone(written)


def _short(text: str) -> dict[str, float]:
    """Return the emotions of the short form `joy=0.8,calm=-0.2`; a name alone is strength 1."""
    found: dict[str, float] = {}
    for part in text.split(",") if text.strip() else ():
        name, separator, number = (piece.strip() for piece in part.partition("="))
        if not name or (separator and not _NUMBER.fullmatch(number)):
            raise ToneError(f"{part!r:.60} is not EMOTION=STRENGTH.", "As joy=0.8,calm=-0.2.")
        if name in found:
            raise ToneError(f"{name!r:.60} is given twice.", "Give it once.")
        found[name] = float(number) if separator else 1.0
    return found


def _tone(fields: Mapping[str, Any]) -> ToneRequest:
    if unknown := [name for name in fields if name not in FIELDS]:
        raise ToneError(f"A tone has no field {unknown[0]!r:.60}.", f"It has: {', '.join(FIELDS)}.")
    given = {name: value for name, value in fields.items() if value is not None}
    point = {name: _number(given[name], f"The {name}") for name in ("valence", "arousal") if name in given}
    if point and given.get("emotion"):
        raise ToneError("A tone is either emotions or valence and arousal.", "Leave out one of them.")
    if not point and "emotion" not in given and (rest := given.keys() & {"strength", "scope", "schedule"}):
        raise ToneError(f"There is a {min(rest)}, and no tone that it is for.", 'Name one: {"emotion": {"joy": 0.8}}.')
    strength = _number(given["strength"], "The strength") if "strength" in given else 1.0
    emotions = _emotions(given.get("emotion", {}), strength)
    affect = None
    for name, value in point.items():
        if abs(value * strength) > 1:
            raise ToneError(f"The {name} is {value * strength:g}, expected a number from -1 to 1.")
    if any(value * strength for value in point.values()):
        affect = Affect(*(point.get(name, 0.0) * strength + 0.0 for name in ("valence", "arousal")))
    scope = given.get("scope")
    if scope is not None and scope not in SCOPES:
        raise ToneError(f"There is no scope {scope!r:.60}.", f"Choose one of: {', '.join(SCOPES)}.")
    curve = _curve(given["schedule"]) if "schedule" in given else None
    return ToneRequest(emotions, affect, scope, curve, _recipe(fields.get("recipe", DEFAULT)))


def _emotions(written: Any, strength: float) -> tuple[tuple[str, float], ...]:
    if not isinstance(written, Mapping):
        raise ToneError(f"The emotion is {written!r:.60}, expected an object.", 'As {"joy": 0.8}.')
    if len(written) > MOST_PARTS or not all(isinstance(name, str) for name in written):
        raise ToneError(f"There are {len(written)} emotions, up to {MOST_PARTS} names are read.", 'As {"joy": 0.8}.')
    pairs = ((name, _number(value, f"The strength of {name!r:.60}") * strength) for name, value in written.items())
    return tuple(sorted((name, value + 0.0) for name, value in pairs))


def _recipe(name: Any) -> str | None:
    if name in (None, "none"):
        return None
    drawn = [other for other, recipe in RECIPES.items() if recipe.drafts > 1]
    offered = [DEFAULT, *(other for other in RECIPES if other not in drawn), "none"]
    if not isinstance(name, str) or name not in offered:
        why = "draws several drafts, and a server writes one" if name in drawn else "is unknown"
        raise ToneError(f"The recipe {name!r:.60} {why}.", f"Choose one of: {', '.join(offered)}.")
    return name


def _curve(written: Any) -> tuple[str, tuple[Any, ...]] | None:
    """Return the kind and the numbers of a schedule; None if it changes nothing."""
    if not isinstance(written, Mapping) or len(written) != 1 or next(iter(written)) not in SCHEDULES:
        raise ToneError(
            f"The schedule is {written!r:.60}, expected an object with one of {', '.join(SCHEDULES)}.",
            'As {"ramp": 40} or {"keyframes": {"0": 0, "40": 1}}.',
        )
    ((kind, value),) = written.items()
    if kind == "window":
        if not isinstance(value, (list, tuple)) or len(value) != 2:
            raise ToneError(f"The window is {value!r:.60}, expected its start and its end.", "As [0, 40].")
        bounds = [_number(place, "A window") if place is not None else None for place in value]
        start, stop = (-math.inf if bounds[0] is None else bounds[0]), (math.inf if bounds[1] is None else bounds[1])
        if start >= stop:
            raise ToneError(f"The window from {start:g} to {stop:g} is empty.", "As [0, 40].")
        return None if (start, stop) == (-math.inf, math.inf) else (kind, (start, stop))
    if kind in ("decay", "ramp"):
        length = _number(value, f"The {kind}")
        if length <= 0:
            raise ToneError(f"The {kind} is {length:g}, expected a number of tokens above 0.", f'As {{"{kind}": 40}}.')
        return (kind, (length,)) if kind == "decay" else ("keyframes", ((0.0, 0.0), (length, 1.0)))
    if not isinstance(value, Mapping) or not 0 < len(value) <= MOST_PARTS:
        raise ToneError(f"The keyframes are {value!r:.60}, expected places and factors.", 'As {"0": 0, "40": 1}.')
    points = sorted((_place(place), _number(factor, "A keyframe")) for place, factor in value.items())
    if len(dict(points)) < len(points):
        raise ToneError("Two keyframes have the same place.", "Leave out one of them.")
    return None if {factor for _, factor in points} == {1.0} else (kind, tuple(points))


def _place(written: Any) -> float:
    if isinstance(written, str) and len(written) < 40 and _NUMBER.fullmatch(written):
        written = float(written)
    return _number(written, "A keyframe")


def _number(value: Any, what: str) -> float:
    """Return a finite number, never −0."""
    if not is_finite_number(value) or abs(value) > FARTHEST:
        raise ToneError(f"{what} is {value!r:.60}, expected a number up to ±{FARTHEST:g}.")
    return float(value) + 0.0
