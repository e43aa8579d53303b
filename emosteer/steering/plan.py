"""Plans: what steering adds to the residual stream after each layer, computed from a tone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from emosteer._util.numbers import layer_numbers
from emosteer.errors import ToneError, warn
from emosteer.schedules import Schedule, keyframes, product, window
from emosteer.steering.affect import Affect
from emosteer.steering.operations import OPERATIONS, Site
from emosteer.steering.thermostat import Held, Thermostat
from emosteer.steering.tones import Keyframes, Tone, ToneLike, Turns, strengths
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import SCOPES, Dose

if TYPE_CHECKING:
    from torch import Tensor

SETTLING = ("ablate", "project")  # operations that set components instead of adding deltas

__all__ = ["Curve", "Plan", "plan", "rows_of"]


class Curve(NamedTuple):
    """The tokens that a column of a plan applies to, and its factor at each.

    Args:
        scope: `"all"`, `"prompt"` or `"generated"` tokens.
        schedule: Position in the answer → factor, or None for 1 everywhere.
    """

    scope: str = "all"
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Plan:
    """The steering vectors of each layer, and the tokens to which they apply.

    Args:
        sites: Layer → its tensors. Empty if every strength is 0.
        curves: One for each column of the sites.
        rows: Number of rows with a tone of their own, or None if all share one.
        operation: A key of `OPERATIONS`.
    """

    sites: Mapping[int, Site]
    curves: tuple[Curve, ...] = (Curve(),)
    rows: int | None = None
    operation: str = "add"

    @property
    def steady(self) -> bool:
        """Whether every token is steered alike."""
        return all(curve == Curve() for curve in self.curves)

    def gains(self, positions: Tensor) -> Tensor:
        """Return the gain of each column `[tokens, columns]` at positions relative to the answer's first token."""
        import torch

        ones = torch.ones_like(positions)
        scopes = {"all": ones, "prompt": positions < 0, "generated": positions >= 0}
        columns = [
            (ones if schedule is None else schedule(positions)) * scopes[scope] for scope, schedule in self.curves
        ]
        return torch.stack(columns, -1)

    @property
    def deltas(self) -> dict[int, Tensor]:
        """The delta that each layer adds to a token at full gain: layer → `[d_model]`, or `[rows, d_model]`."""
        sums = {layer: site.vectors.sum(-2) for layer, site in self.sites.items()}
        return sums if self.rows is not None else {layer: rows[0] for layer, rows in sums.items()}


def plan(
    vectors: EmotionVectors,
    tone: ToneLike | Thermostat | Turns,
    *,
    layers: Sequence[int] | None = None,
    scope: str | None = None,
    schedule: Schedule | None = None,
    operation: str = "add",
) -> Plan:
    """Turn strengths into deltas: strength · dose · weight · residual norm · direction, summed over emotions.

    Args:
        vectors: The vectors of the emotions.
        tone: One tone for all rows, or one for each row of a batch; None and strength 0 are no tone.
        layers: Layers to steer after, instead of those of the dose, which is spread evenly over them.
        scope: As for `emosteer.steer`.
        schedule: As for `emosteer.steer`.
        operation: As for `emosteer.steer`.

    Raises:
        ToneError: An emotion, layer, scope or operation is unknown, or a strength is not a finite number up to ±10.
    """
    if operation not in OPERATIONS:
        raise ToneError(f"There is no operation {operation!r}.", f"Choose one of: {', '.join(OPERATIONS)}.")
    if scope is not None and scope not in SCOPES:
        raise ToneError(f"There is no scope {scope!r}.", f"Choose one of: {', '.join(SCOPES)}.")
    if schedule is not None and not callable(schedule):
        raise ToneError(f"{schedule!r} is not a schedule.", "Make one with emosteer.schedules, such as ramp(40).")
    if layers is not None:
        layers = layer_numbers(layers)
        _check_layers(vectors, layers)
    options = _Options(vectors, layers, scope, schedule, operation)
    columns = [list(options.columns(row)) for row in rows_of(tone)]
    if operation != "ablate":  # which takes what is there, whatever the dose
        _tell_of_fallback(vectors, {column.emotion for row in columns for column in row})
    sites = _settling(vectors, columns, operation) if operation in SETTLING else _additive(vectors, columns)
    return replace(sites, rows=len(columns) if isinstance(tone, Sequence) else None, operation=operation)


class _Column(NamedTuple):
    """One emotion of one row."""

    emotion: str
    strength: float
    dose: Dose
    curve: Curve


@dataclass(frozen=True)
class _Options:
    """The arguments of `plan` that apply to every row."""

    vectors: EmotionVectors
    layers: Sequence[int] | None
    scope: str | None
    schedule: Schedule | None
    operation: str

    def columns(self, tone: Tone | Affect | Keyframes | Thermostat | Turns) -> Iterator[_Column]:
        """Yield a column for each emotion of a tone, except those at strength 0."""
        if isinstance(tone, Turns):
            for turn, start, stop in tone.turns:
                inside = window(start, stop)
                for column in self.columns(turn or {}):
                    schedule = product(inside, column.curve.schedule) if column.curve.schedule else inside
                    yield column._replace(curve=column.curve._replace(schedule=schedule))
            return
        if isinstance(tone, Thermostat):
            self._require_constant(
                "A thermostat sets the strengths along the answer itself, of a tone that is added.",
                "Leave schedule and operation out, or give a constant tone.",
            )
            for emotion in tone.levels:
                yield self._column(emotion, 1.0, Held(emotion))
        elif isinstance(tone, Keyframes):
            self._require_constant(
                "Keyframes are a schedule of their own, for a tone that is added.",
                "Leave schedule and operation out, or give one tone with schedule=.",
            )
            for emotion, frames in tone.strengths(self.vectors).items():
                column = self._column(emotion, 1.0, keyframes(frames))
                if any(frames.values()):
                    yield column
        else:
            for emotion, strength in strengths(self.vectors, tone).items():
                # Even at strength 0, so that a misspelt emotion is always an error.
                column = self._column(emotion, strength, self.schedule)
                if column.strength or self.operation == "project":  # where 0 is the level of neutral text
                    yield column

    def _require_constant(self, message: str, hint: str) -> None:
        if self.schedule is not None or self.operation in SETTLING:
            raise ToneError(message, hint)

    def _column(self, emotion: str, strength: float, schedule: Schedule | None) -> _Column:
        dose, layers = self.vectors.dose(emotion), self.layers
        if layers is None and self.operation == "ablate":
            layers = self.vectors.layers  # all, or a later layer would write the emotion again
        if layers is not None:
            share = sum(map(abs, dose.weights)) / len(layers)
            dose = Dose(dose.dose, tuple(layers), (share,) * len(layers), dose.scope)
        return _Column(emotion, strength, dose, Curve(self.scope or dose.scope, schedule))


def _additive(vectors: EmotionVectors, rows: Sequence[Sequence[_Column]]) -> Plan:
    """Return a plan in which emotions that share a curve share a column."""
    import torch

    curves = tuple(dict.fromkeys(column.curve for row in rows for column in row))
    layers = sorted({layer for row in rows for column in row for layer in column.dose.layers})
    shape = len(layers), len(rows), len(curves), vectors.hidden_size
    table = torch.zeros(shape, dtype=torch.float32, device="cpu")
    for r, row in enumerate(rows):
        for column in row:
            deltas = _deltas(vectors, column)
            places = [layers.index(layer) for layer in deltas]
            table[places, r, curves.index(column.curve)] += torch.stack(list(deltas.values()))
    return Plan(dict(zip(layers, map(Site, table.unbind()), strict=True)), curves)


def _settling(vectors: EmotionVectors, rows: Sequence[Sequence[_Column]], operation: str) -> Plan:
    """Return a plan with a column for each emotion, holding the dual of its direction among those of its row."""
    import torch

    keys = tuple(dict.fromkeys((column.emotion, column.curve) for row in rows for column in row))
    shape = len(rows), len(keys)
    sites: dict[int, Site] = {}
    for layer in sorted({layer for row in rows for column in row for layer in column.dose.layers}):
        index = vectors.layers.index(layer)
        zeros = partial(torch.zeros, dtype=torch.float32, device="cpu")
        read, level, hold = zeros((*shape, vectors.hidden_size)), zeros(shape), zeros(shape)
        for r, row in enumerate(rows):
            for column in row:
                if layer not in column.dose.layers:
                    continue
                at = r, keys.index((column.emotion, column.curve))
                direction = vectors.directions[column.emotion][index]
                read[at] = direction
                if operation == "ablate":
                    hold[at] = column.strength
                else:
                    neutral = 0.0 if vectors.center is None else float(vectors.center[index] @ direction)
                    hold[at] = 1.0
                    level[at] = neutral + float(_deltas(vectors, column)[layer] @ direction)
        sites[layer] = Site(torch.linalg.pinv(read).mT, read, level, hold)
    return Plan(sites, tuple(curve for _, curve in keys))


def _tell_of_fallback(vectors: EmotionVectors, emotions: Collection[str]) -> None:
    """Warn, once for a set of vectors, if a tone uses the fallback dose. Random vectors, a control, have no other."""
    lacking = [name for name in vectors.emotions if name in emotions and name not in vectors.doses]
    if lacking and vectors not in _told and vectors.extraction.get("method") != "random":
        _told.add(vectors)
        warn(
            f"Not calibrated: {', '.join(lacking)}. Strength 1.0 is the fallback dose, which may be weak or strong; "
            "emosteer calibrate measures it."
        )


_told: WeakSet[EmotionVectors] = WeakSet()


def _deltas(vectors: EmotionVectors, column: _Column) -> dict[int, Tensor]:
    """Return layer → delta; strength and dose are multiplied first, so that the delta is rounded once."""
    return vectors.deltas(column.emotion, replace(column.dose, dose=column.strength * column.dose.dose))


def rows_of(tone: ToneLike | Thermostat | Turns) -> list[Tone | Affect | Keyframes | Thermostat | Turns]:
    """Return the tone of each row, or a single one that all rows share.

    Raises:
        ToneError: It is not a tone.
    """
    if tone is None or isinstance(tone, (Mapping, Affect, Keyframes, Thermostat, Turns)):
        return [tone or {}]
    if isinstance(tone, str) or not isinstance(tone, Sequence):
        raise ToneError(
            f"{tone!r} is not a tone.", "A tone is a mapping such as {'joy': 0.8}, or a list of one for each row."
        )
    if not tone:
        raise ToneError("The list of tones is empty.", "Give one tone for each row of the batch; None is no tone.")
    for row in tone:
        if not (row is None or isinstance(row, (Mapping, Affect, Keyframes))):
            raise ToneError(f"{row!r} is not the tone of a row.", "Give a mapping such as {'joy': 0.8}, or None.")
    return [row or {} for row in tone]


def _check_layers(vectors: EmotionVectors, layers: Sequence[int]) -> None:
    if missing := [layer for layer in layers if layer not in vectors.layers]:
        raise ToneError(
            f"The vectors have no layer {missing[0]}.",
            f"They have the layers {vectors.layers[0]} to {vectors.layers[-1]}.",
        )
    if not layers or len(set(layers)) != len(layers):
        raise ToneError(
            "The layers to steer are empty or name one twice.", "Name each layer once, or leave layers out."
        )
