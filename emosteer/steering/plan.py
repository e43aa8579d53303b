"""From what one asks for to what is done after each layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from emosteer.errors import ToneError
from emosteer.schedules import Schedule, keyframes, product, window
from emosteer.steering.affect import Affect
from emosteer.steering.operations import OPERATIONS, Site
from emosteer.steering.thermostat import Held, Thermostat
from emosteer.steering.tones import Keyframes, Tone, Turns, Wanted, checked, named
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import SCOPES, Dose

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Curve", "Plan", "plan"]


class Curve(NamedTuple):
    """Which tokens a column of a plan is for, and how much of it they get.

    Args:
        scope: `"all"`, `"prompt"` or `"generated"` tokens.
        schedule: Place in the answer → factor, or None for 1 everywhere.
    """

    scope: str = "all"
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Plan:
    """What is done after which layer, to which tokens.

    Args:
        sites: Layer → its vectors. Empty when all strengths are 0.
        curves: One for each column of the sites.
        rows: Number of rows that have a tone each, or None when one tone is for all.
        operation: A key of `OPERATIONS`.
    """

    sites: Mapping[int, Site]
    curves: tuple[Curve, ...] = (Curve(),)
    rows: int | None = None
    operation: str = "add"

    @property
    def steady(self) -> bool:
        """Is every token treated alike?"""
        return all(curve == Curve() for curve in self.curves)

    @property
    def deltas(self) -> dict[int, Tensor]:
        """Layer → what is added to a token that gets all of the tone: `[d_model]`, or `[rows, d_model]`."""
        sums = {layer: site.vectors.sum(-2) for layer, site in self.sites.items()}
        return sums if self.rows is not None else {layer: rows[0] for layer, rows in sums.items()}


def plan(
    vectors: EmotionVectors,
    tone: Wanted | Thermostat | Turns,
    *,
    layers: Sequence[int] | None = None,
    scope: str | None = None,
    schedule: Schedule | None = None,
    operation: str = "add",
) -> Plan:
    """Turn strengths into vectors: strength · dose · weight · residual norm · direction, summed over emotions.

    Args:
        vectors: Where the emotions are.
        tone: One tone for all rows, or one for each row of a batch; None and strength 0 are no tone.
        layers: Steer after these layers instead of those of the dose, which is then spread evenly over them.
        scope: Steer these tokens instead of those of the dose: `"all"`, `"prompt"` or `"generated"`.
        schedule: Factor on all strengths along the answer.
        operation: `"add"`; `"norm_preserving"`, which adds and keeps the length of the stream; `"ablate"`, which takes
            the share `strength` of the emotion's component out, at every layer; `"project"`, which sets it to what the
            strength would have given neutral text, 0 being neutral itself.

    Raises:
        ToneError: An emotion, a layer, a scope or an operation is not there, or a strength is not a finite number up
            to ±10.
    """
    if operation not in OPERATIONS:
        raise ToneError(f"There is no operation {operation!r}.", f"Choose one of: {', '.join(OPERATIONS)}.")
    if scope is not None and scope not in SCOPES:
        raise ToneError(f"There is no scope {scope!r}.", f"Choose one of: {', '.join(SCOPES)}.")
    if schedule is not None and not callable(schedule):
        raise ToneError(f"{schedule!r} is not a schedule.", "Make one with emosteer.schedules, such as ramp(40).")
    if layers is not None:
        _check_layers(vectors, layers)
    tones = _rows(tone)
    asked = _Asked(vectors, layers, scope, schedule, operation)
    columns = [list(asked.columns(one)) for one in tones]
    rows = len(tones) if isinstance(tone, Sequence) else None
    settled = operation in ("ablate", "project")
    found = _settled(vectors, columns, operation) if settled else _summed(vectors, columns)
    return replace(found, rows=rows, operation=operation)


class _Column(NamedTuple):
    """One emotion of one row."""

    emotion: str
    strength: float
    dose: Dose
    curve: Curve


@dataclass(frozen=True)
class _Asked:
    vectors: EmotionVectors
    layers: Sequence[int] | None
    scope: str | None
    schedule: Schedule | None
    operation: str

    def columns(self, tone: Tone | Affect | Keyframes | Thermostat | Turns) -> Iterator[_Column]:
        """The emotions of a tone that are not off."""
        if isinstance(tone, Thermostat):
            if self.schedule is not None or self.operation in ("ablate", "project"):
                raise ToneError(
                    "A thermostat sets the strengths along the answer itself, of a tone that is added.",
                    "Leave schedule and operation out, or give a constant tone.",
                )
            # A column each, with strengths that are set while the model runs.
            for emotion in tone.levels:
                dose = self._dose(emotion)
                yield _Column(emotion, 1.0, dose, Curve(self.scope or dose.scope, Held(emotion)))
            return
        if isinstance(tone, Turns):
            for said_in, start, stop in tone.turns:
                for column in self.columns(said_in or {}):
                    inside = window(start, stop)
                    schedule = product(inside, column.curve.schedule) if column.curve.schedule else inside
                    yield column._replace(curve=column.curve._replace(schedule=schedule))
            return
        if isinstance(tone, Keyframes):
            if self.schedule is not None or self.operation in ("ablate", "project"):
                raise ToneError(
                    "Keyframes are a schedule of their own, for a tone that is added.",
                    "Leave schedule and operation out, or give one tone with schedule=.",
                )
            for emotion, strengths in tone.strengths(self.vectors).items():
                dose = self._dose(emotion)
                if any(strengths.values()):
                    yield _Column(emotion, 1.0, dose, Curve(self.scope or dose.scope, keyframes(strengths)))
            return
        for emotion, given in named(self.vectors, tone).items():
            strength = checked(emotion, given)
            dose = self._dose(emotion)  # asked for even at strength 0, so that a misspelt emotion is always an error
            if strength or self.operation == "project":  # whose 0 is the level of neutral text
                yield _Column(emotion, strength, dose, Curve(self.scope or dose.scope, self.schedule))

    def _dose(self, emotion: str) -> Dose:
        dose, layers = self.vectors.dose(emotion), self.layers
        if layers is None and self.operation == "ablate":
            layers = self.vectors.layers  # or later layers would write it anew
        if layers is None:
            return dose
        share = sum(map(abs, dose.weights)) / len(layers)
        return Dose(dose.dose, tuple(layers), (share,) * len(layers), dose.scope)


def _summed(vectors: EmotionVectors, rows: Sequence[Sequence[_Column]]) -> Plan:
    """Emotions that share a curve become one column."""
    import torch

    curves = tuple(dict.fromkeys(column.curve for row in rows for column in row))
    table: dict[int, Tensor] = {}
    for r, row in enumerate(rows):
        for column in row:
            # One factor a layer, so that rounding is that of one multiplication.
            dose = replace(column.dose, dose=column.strength * column.dose.dose)
            for layer, delta in vectors.deltas(column.emotion, dose).items():
                if layer not in table:
                    table[layer] = torch.zeros(len(rows), len(curves), vectors.hidden_size)
                table[layer][r, curves.index(column.curve)] += delta
    return Plan({layer: Site(table[layer]) for layer in sorted(table)}, curves)


def _settled(vectors: EmotionVectors, rows: Sequence[Sequence[_Column]], operation: str) -> Plan:
    """Every emotion is a column, with the dual of its direction among those of its row."""
    import torch

    keys = tuple(dict.fromkeys((column.emotion, column.curve) for row in rows for column in row))
    shape = len(rows), len(keys)
    sites: dict[int, Site] = {}
    for layer in sorted({layer for row in rows for column in row for layer in column.dose.layers}):
        line = vectors.layers.index(layer)
        read, level, hold = torch.zeros(*shape, vectors.hidden_size), torch.zeros(shape), torch.zeros(shape)
        for r, row in enumerate(rows):
            for column in row:
                if layer not in column.dose.layers:
                    continue
                at = r, keys.index((column.emotion, column.curve))
                direction = vectors.directions[column.emotion][line]
                read[at] = direction
                if operation == "ablate":
                    hold[at] = column.strength
                else:
                    neutral = 0.0 if vectors.center is None else float(vectors.center[line] @ direction)
                    dose = replace(column.dose, dose=column.strength * column.dose.dose)
                    hold[at] = 1.0
                    level[at] = neutral + float(vectors.deltas(column.emotion, dose)[layer] @ direction)
        sites[layer] = Site(torch.linalg.pinv(read).mT, read, level, hold)
    return Plan(sites, tuple(curve for _, curve in keys))


def _rows(tone: Wanted | Thermostat | Turns) -> list[Tone | Affect | Keyframes | Thermostat | Turns]:
    """The tone of each row; one row if all share it."""
    if tone is None or isinstance(tone, (Mapping, Affect, Keyframes, Thermostat, Turns)):
        return [tone or {}]
    if isinstance(tone, str) or not isinstance(tone, Sequence):
        raise ToneError(
            f"{tone!r} is not a tone.", "A tone is a mapping such as {'joy': 0.8}, or a list of one for each row."
        )
    if not tone:
        raise ToneError("The list of tones is empty.", "Give one tone for each row of the batch; None is no tone.")
    for one in tone:
        if not (one is None or isinstance(one, (Mapping, Affect, Keyframes))):
            raise ToneError(f"{one!r} is not the tone of a row.", "Give a mapping such as {'joy': 0.8}, or None.")
    return [one or {} for one in tone]


def _check_layers(vectors: EmotionVectors, layers: Sequence[int]) -> None:
    if missing := [layer for layer in layers if layer not in vectors.layers]:
        raise ToneError(
            f"The vectors have no layer {missing[0]}.",
            f"They have the layers {vectors.layers[0]} to {vectors.layers[-1]}.",
        )
    if not layers or len(set(layers)) != len(layers):
        raise ToneError("The layers to steer are empty or name one twice.")
