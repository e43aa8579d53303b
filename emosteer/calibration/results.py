"""The record of a calibration, kept beside the vectors, which gives other copies of them the same doses.

The doses in a vector file are what steers; the record says how they were measured. The command line writes it before it
writes doses. `apply` refuses vectors that the record was not measured with, so an outdated record does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.names import EMOTION_NAME
from emosteer._util.own_files import require_own
from emosteer._util.schema import Schema
from emosteer.errors import FormatError, IncompatibleModelError
from emosteer.models.fingerprint import BaseModel
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import SCOPES, Dose

SCHEMA = 1
CALIBRATION_FILE = "calibration.json"
STOPPED = ("budget", "saturated", "limit")

SAMPLE = 16
"""Numbers sampled from what a dose adds, by which a direction is recognised."""

TOLERANCE = 0.05
"""Relative difference allowed between samples: rounding differs between machines, other directions differ by more."""

checks = Schema("a calibration of emosteer", "Measure one: emosteer calibrate VECTORS")

__all__ = ["CALIBRATION_FILE", "Calibration", "EmotionResult", "Point", "Window", "sample_of"]


@dataclass(frozen=True)
class Point:
    """Answers at one dose.

    Args:
        dose: Dose in mean residual norms.
        n: Number of answers.
        cost: Cost in nats per token above plain answers to the same prompts.
        standard_error: Standard error of the cost; None for a single answer.
        tone: Readout of the answers above that of plain ones, in standard deviations of neutral text; None if there is
            nothing to read.
        hit_rate: Share of answers in which the judge finds the emotion, or None.
    """

    dose: float
    n: int
    cost: float
    standard_error: float | None
    tone: float | None
    hit_rate: float | None


@dataclass(frozen=True)
class EmotionResult:
    """The dose of one emotion.

    Args:
        dose: Dose of strength 1.0, in mean residual norms.
        cost: Its cost by the fitted curve, in nats per token.
        standard_error: Standard error of that cost.
        hit_rate: Hit rate at the nearest measured dose, or None.
        stopped: Why it is not higher. `"budget"`: it costs the budget; `"saturated"`: more adds no tone; `"limit"`: it
            is the highest dose that was measured, and costs less than the budget.
        factor: Factor of the curve, cost = factor · dose^exponent.
        points: Measured points, by rising dose.
        sample: Numbers sampled from what a dose of 1.0 adds, by which the direction is recognised.
    """

    dose: float
    cost: float
    standard_error: float
    hit_rate: float | None
    stopped: str
    factor: float
    points: tuple[Point, ...]
    sample: tuple[float, ...]


@dataclass(frozen=True)
class Window:
    """A window of layers that was tried.

    Args:
        layers: Layers, steered with even weights.
        tone: Tone at the dose that costs the budget, mean over emotions, in standard deviations of neutral text.
        gain: Tone minus that of the first window, the middle third.
        standard_error: Standard error of the gain.
    """

    layers: tuple[int, ...]
    tone: float
    gain: float
    standard_error: float


@dataclass(frozen=True)
class Calibration:
    """Doses and the measurements behind them.

    The cost of an emotion is factor · (strength · dose)^exponent with a factor that is not negative and an exponent
    above zero. So it rises from 0 at strength 0 to the cost of the dose at strength 1, and never falls between.

    Args:
        base_model: The model that was measured.
        layers: Steered layers, the same for all emotions.
        weights: One factor for each layer.
        scope: Tokens that are steered.
        budget: Allowed cost of strength 1.0, in nats per token.
        exponent: Exponent of all curves.
        emotions: Emotion → its dose.
        windows: Windows of layers that were tried, the middle third first.
        about: Number, digest and language of the prompts, how answers were decoded, seed, versions, number of answers,
            judge.
    """

    base_model: BaseModel
    layers: tuple[int, ...]
    weights: tuple[float, ...]
    scope: str
    budget: float
    exponent: float
    emotions: Mapping[str, EmotionResult]
    windows: tuple[Window, ...]
    about: Mapping[str, Any]

    def apply(self, vectors: EmotionVectors) -> EmotionVectors:
        """Return the vectors with these doses; an emotion that was not calibrated keeps its own.

        Args:
            vectors: The vectors that were measured, or vectors made again in the same way.

        Raises:
            IncompatibleModelError: They belong to another model, lack the layers or all of the emotions, or have other
                directions.
        """
        ours, theirs = self.base_model, vectors.base_model
        known = None not in (ours.fingerprint, theirs.fingerprint)
        for name in ("model_type", "num_hidden_layers", "hidden_size", *(["fingerprint"] if known else [])):
            if getattr(ours, name) != getattr(theirs, name):
                _refuse("another model", f"{name} {getattr(ours, name)} instead of {getattr(theirs, name)}")
        if missing := [layer for layer in self.layers if layer not in vectors.layers]:
            _refuse("other layers", f"it steers layer {missing[0]}, which the vectors do not have")
        doses = {}
        for name, result in self.emotions.items():
            if name not in vectors.directions:
                continue
            sample = sample_of(vectors, name, self.layers, self.weights)
            error = sum((actual - expected) ** 2 for actual, expected in zip(sample, result.sample, strict=True))
            if not error <= TOLERANCE**2 * sum(expected**2 for expected in result.sample):
                _refuse("other directions", f"that of {name} is not the one that was measured")
            doses[name] = Dose(
                dose=result.dose,
                layers=self.layers,
                weights=self.weights,
                scope=self.scope,
                budget=self.budget,
                cost=result.cost,
                hit_rate=result.hit_rate,
                stopped=result.stopped,
            )
        if not doses:
            _refuse("other emotions", f"it is of {', '.join(self.emotions)}")
        return replace(vectors, doses={**vectors.doses, **doses})

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Any) -> Calibration:
        """Check a parsed record and return it.

        Raises:
            FormatError: A field is missing, unknown, of the wrong type or out of range.
        """
        schema = checks.whole(checks.mapping(data, "it").get("schema"), "schema", 1, 1_000_000)
        if schema != SCHEMA:
            raise FormatError(
                f"The calibration has the schema {schema}, this emosteer reads {SCHEMA}.",
                "A later emosteer may read it: pip install -U emosteer",
            )
        entry = checks.mapping(data, "it", {"schema", *_names(cls)})
        base = BaseModel(**checks.mapping(entry["base_model"], "base_model", _names(BaseModel)))
        depth = checks.whole(base.num_hidden_layers, "base_model.num_hidden_layers", 1, 1_000_000)
        checks.whole(base.hidden_size, "base_model.hidden_size", 1, 1_000_000)
        for name in ("repo_id", "revision", "weights_variant", "fingerprint"):
            if getattr(base, name) is not None:
                checks.text(getattr(base, name), f"base_model.{name}")
        checks.text(base.model_type, "base_model.model_type")
        layers = checks.layers(entry["layers"], "layers", depth)
        weights = checks.numbers(entry["weights"], "weights", -1_000, 1_000)
        if len(weights) != len(layers):
            checks.fail("it has not one weight a layer")
        emotions = entry["emotions"]
        if not isinstance(emotions, dict) or not emotions or not all(map(EMOTION_NAME.fullmatch, emotions)):
            checks.fail("emotions is not an object of emotions")
        return cls(
            base_model=base,
            layers=layers,
            weights=weights,
            scope=checks.choice(entry["scope"], "scope", SCOPES),
            budget=checks.number(entry["budget"], "budget", 0, 1_000),
            exponent=checks.number(entry["exponent"], "exponent", 0.1, 100),
            emotions={name: _emotion(result, name) for name, result in emotions.items()},
            windows=tuple(_window(window, depth) for window in checks.listed(entry["windows"], "windows")),
            about=checks.mapping(entry["about"], "about"),
        )

    def save(self, folder: str | Path) -> None:
        """Write `calibration.json`.

        Args:
            folder: Folder of the file, created if it does not exist.

        Raises:
            InputError: It cannot be written, or a file of that name is not emosteer's, which is unchanged.
        """
        require_own(Path(folder), [CALIBRATION_FILE])
        write_folder(Path(folder), {CALIBRATION_FILE: strict_json.pretty(self.to_dict()).encode()})

    @classmethod
    def load(cls, source: str | Path) -> Calibration:
        """Read a record.

        Args:
            source: The file, or the folder that holds `calibration.json`.

        Raises:
            FormatError: It does not exist or is not a calibration.
        """
        file = Path(source)
        try:
            file = file / CALIBRATION_FILE if file.is_dir() else file
            return cls.from_dict(strict_json.loads(file.read_bytes()))
        except FormatError:
            raise
        except (OSError, ValueError) as error:
            raise FormatError(
                f"The calibration {file} cannot be read ({getattr(error, 'strerror', None) or error}).",
                "Measure one: emosteer calibrate VECTORS",
            ) from error


def sample_of(
    vectors: EmotionVectors, emotion: str, layers: Sequence[int], weights: Sequence[float]
) -> tuple[float, ...]:
    """Sample numbers from what a dose of 1.0 adds, evenly over layers and width.

    They take the place of a digest, which rounding on another machine would change.
    """
    import torch

    deltas = vectors.deltas(emotion, Dose(1.0, tuple(layers), tuple(weights)))
    flat = torch.cat([deltas[layer] for layer in layers])
    step = (len(flat) - 1) / (SAMPLE - 1)
    return tuple(float(f"{float(flat[round(i * step)]):.5g}") for i in range(SAMPLE))


def _refuse(difference: str, detail: str) -> NoReturn:
    raise IncompatibleModelError(
        f"The calibration was measured with {difference}: {detail}.", "Measure anew: emosteer calibrate VECTORS"
    )


def _names(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}


def _window(value: Any, depth: int) -> Window:
    entry = checks.mapping(value, "a window", _names(Window))
    names = ("tone", "gain", "standard_error")
    return Window(
        checks.layers(entry["layers"], "the layers of a window", depth),
        *(checks.number(entry[name], f"the {name} of a window", -1e6, 1e6) for name in names),
    )


def _emotion(value: Any, name: str) -> EmotionResult:
    entry = checks.mapping(value, name, _names(EmotionResult))
    sample = checks.numbers(entry["sample"], f"the sample of {name}", -1e30, 1e30)
    if len(sample) != SAMPLE:
        checks.fail(f"the sample of {name} has {len(sample)} numbers, expected {SAMPLE}")
    return EmotionResult(
        dose=checks.number(entry["dose"], f"the dose of {name}", 0, 1_000),
        cost=checks.number(entry["cost"], f"the cost of {name}", -1_000, 1_000),
        standard_error=checks.number(entry["standard_error"], f"the standard error of {name}", 0, 1_000),
        hit_rate=checks.optional_number(entry["hit_rate"], f"the hit rate of {name}", 0, 1),
        stopped=checks.choice(entry["stopped"], f"why {name} stopped", STOPPED),
        factor=checks.number(entry["factor"], f"the factor of {name}", 0, 1e30),
        points=tuple(_point(point, name) for point in checks.listed(entry["points"], f"the points of {name}")),
        sample=sample,
    )


def _point(value: Any, name: str) -> Point:
    entry = checks.mapping(value, f"a point of {name}", _names(Point))
    return Point(
        dose=checks.number(entry["dose"], f"a dose of {name}", 0, 1_000),
        n=checks.whole(entry["n"], f"the number of answers of {name}", 1, 1_000_000),
        cost=checks.number(entry["cost"], f"a cost of {name}", -1_000, 1_000),
        standard_error=checks.optional_number(entry["standard_error"], f"a standard error of {name}", 0, 1_000),
        tone=checks.optional_number(entry["tone"], f"a tone of {name}", -1e6, 1e6),
        hit_rate=checks.optional_number(entry["hit_rate"], f"a hit rate of {name}", 0, 1),
    )
