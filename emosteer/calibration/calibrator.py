"""Calibration of vectors: the experiment, step by step, and the decisions made on its results.

Each step starts from the estimate of the one before, the first from the quick calibration. Three windows of layers at
two doses, all emotions on a few prompts, give the layers and what the quick doses cost. Three levels around the budget
correct the estimate for every emotion. Two levels at the corrected doses, on other prompts, settle it. All answers in
the chosen layers enter the final fit.

Doses are counted in quick doses of the emotion, at which all emotions cost about the same: what noisy answers do not
tell of an emotion is then taken from its divergence, and not from the other emotions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from emosteer._util.numbers import checked_seed
from emosteer._util.progress import Meter, counted
from emosteer._util.stats import resamples
from emosteer.calibration.bench import PLAIN, SAMPLING, Bench, ScoredAnswer, dealt, even_weights
from emosteer.calibration.curves import FROM, CostFit, Samples, fit_costs, tone_rises, tones_at_cost
from emosteer.calibration.quick import LIMIT, layers_of, quick_doses
from emosteer.calibration.results import Calibration, EmotionResult, Point, Window, sample_of
from emosteer.errors import InputError
from emosteer.eval.judges import BASIC, Judge, heard_as, judges_of
from emosteer.eval.language import language_of
from emosteer.eval.prompts import Prompt, as_prompt, spread, usual_prompts
from emosteer.eval.sampling import decoding
from emosteer.extraction.extractor import texts_digest

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

PROMPTS = 42
"""Development prompts: 18 for the layers and the first round, the others for the second."""

PROBES, PROBED = (0.75, 1.5), 4
"""Levels, in quick doses, and number of prompts for the comparison of layers."""

FIRST, SECOND = (0.65, 1.0, 1.35), (0.85, 1.15)
"""Levels of the two rounds, in multiples of the dose estimated so far."""

REACH = 2.0
"""Largest dose of the next round, in multiples of the highest dose so far."""

__all__ = ["calibrate"]


def calibrate(
    steered: SteeredModel,
    *,
    budget: float = 0.5,
    emotions: Sequence[str] | None = None,
    prompts: Sequence[str | Prompt] | None = None,
    language: str | None = None,
    judge: Judge | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> Calibration:
    """Find the dose of every emotion at which strength 1.0 costs a budget, or less where more adds no tone.

    This takes about 2,000 answers of 32 tokens for 34 emotions. Tone is measured by the readout in the finished words.
    The judge has no influence on the doses.

    Args:
        steered: The model. The doses of the quick calibration, which are measured now if the vectors have others, are
            where it begins.
        budget: Cost of strength 1.0, in nats per token above plain answers.
        emotions: Emotions to calibrate; all of the vectors by default.
        prompts: Prompts; by default the development bench, in a language that has none the development questions, for a
            base model the development openings.
        language: Language of the prompts; by default the first of the vectors' languages that there are prompts in.
        judge: Judge that measures the hit rate. Without one that knows the language there is none.
        seed: Seed of sampling. For all else but length and temperature, the model's generation config holds.
        cache: Folder that keeps finished batches of answers, so that an interrupted calibration can resume.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        The record, to `apply` to the vectors.

    Raises:
        ToneError: An emotion is unknown.
        InputError: The budget, the emotions or the prompts cannot be used, all answers of an emotion are empty, or the
            cache cannot be written.
    """
    vectors = steered.vectors
    emotions = tuple(vectors.emotions if emotions is None else dict.fromkeys(emotions))
    for name in emotions:
        vectors.dose(name)  # a misspelt one is an error now
    if not 0 < budget < math.inf:
        raise InputError(f"The budget is {budget}, it must be a positive number.", "0.5 nats a token is the default.")
    texts = None if prompts is None else [as_prompt(prompt).text for prompt in prompts]
    seed, language = checked_seed(seed), language_of(vectors, language, texts)
    if prompts is None:
        prompts = usual_prompts("development", language, chat=bool(steered.tokenizer.chat_template))
    asked = spread(tuple(dict.fromkeys(map(as_prompt, prompts))), PROMPTS)
    if not emotions or len(asked) < 2:
        raise InputError("Calibration needs an emotion and two prompts or more.")
    judge = next(iter(judges_of(language, [judge] if judge else [])[0]), None)
    first = spread(asked, max(1, len(asked) * 3 // 7))
    second = [prompt for prompt in asked if prompt not in first]
    windows = _windows(layers_of(vectors), vectors.layers, vectors.base_model.num_hidden_layers)
    probing = spread(first, PROBED)
    rounds = [(probing, PROBES)] * len(windows) + [(first, FIRST), (second, SECOND)]
    shares = sum(len(share) for some, levels in rounds for share in dealt(some, len(levels)))
    total = PLAIN * len(asked) + shares * len(emotions)
    quick = _quick(steered, emotions, windows[0], first, seed, progress)
    with Meter(f"Answering {counted(total, 'prompt')}", total, progress) as meter:
        bench = Bench(steered, asked, seed, cache, meter)
        probes = {name: _levels(1.0, PROBES, dose) for name, dose in quick.items()}
        probed = [bench.ask(layers, probes, probing) for layers in windows]
        chosen, compared = _compare(windows, probed, quick, budget)
        layers, weights, answers = windows[chosen], even_weights(windows[chosen]), probed[chosen]
        if chosen:
            quick = _quick(steered, emotions, layers, first, seed, progress)
        pooled = _samples(answers, quick, [0] * len(answers))
        guess = _multiples(pooled, fit_costs(pooled), budget, REACH)[0]
        answers += bench.ask(layers, {name: _levels(guess, FIRST, dose) for name, dose in quick.items()}, first)
        samples = _of_emotions(answers, quick)
        each = zip(quick.items(), _multiples(samples, fit_costs(samples), budget, REACH), strict=True)
        answers += bench.ask(layers, {name: _levels(own, SECOND, dose) for (name, dose), own in each}, second)

    samples = _of_emotions(answers, quick)
    fit = fit_costs(samples)
    multiples = _multiples(samples, fit, budget)
    rises = tone_rises(samples, multiples)
    results = {}
    for i, (name, dose) in enumerate(quick.items()):
        own = [answer for answer in answers if answer.cell.emotion == name]
        points = _points(own, _hits(own, name, judge))
        sample = sample_of(vectors, name, layers, weights)
        curve = _Curve(fit.exponent, *(float(of_all[i] / dose**fit.exponent) for of_all in (fit.factors, fit.errors)))
        levels = [point for point in points if point.dose not in probes[name]] or points
        top = _rounded(min(LIMIT, multiples[i] * dose))
        results[name] = _settled(curve, points, levels, top, rises[i], budget, sample)
    return Calibration(
        base_model=vectors.base_model,
        layers=layers,
        weights=weights,
        scope="all",
        budget=budget,
        exponent=fit.exponent,
        emotions=results,
        windows=compared,
        about={
            "language": language,
            "prompts": len(asked),
            "prompts_digest": texts_digest([prompt.system, prompt.text] for prompt in asked),
            "n_answers": bench.n_answers,
            "seed": seed,
            "judge": judge.name if judge else None,
            "versions": {name: version(name) for name in ("emosteer", "torch", "transformers")},
            **SAMPLING,
            "decoding": decoding(steered, **SAMPLING),
        },
    )


def _windows(middle: tuple[int, ...], layers: Sequence[int], depth: int) -> list[tuple[int, ...]]:
    """Return the layers of the quick calibration, and those a sixth of the depth earlier and later."""
    shift = max(1, depth // 6)
    shifted = [tuple(layer + by for layer in middle if layer + by in layers) for by in (-shift, shift)]
    return [middle, *(window for window in shifted if len(window) == len(middle))]


def _quick(
    steered: SteeredModel,
    emotions: Sequence[str],
    layers: tuple[int, ...],
    prompts: Sequence[str | Prompt],
    seed: int,
    progress: bool,
) -> dict[str, float]:
    """Return the quick doses for some layers: those that the vectors have, or else measured now."""
    own = [steered.vectors.dose(name) for name in emotions]
    if any(dose.calibration != "quick" or dose.layers != layers for dose in own):
        found = quick_doses(steered, emotions=emotions, layers=layers, prompts=prompts, seed=seed, progress=progress)
        own = [found[name] for name in emotions]
    return {name: dose.dose for name, dose in zip(emotions, own, strict=True)}


def _levels(multiple: float, factors: Sequence[float], dose: float) -> tuple[float, ...]:
    return tuple(dict.fromkeys(_rounded(min(LIMIT, factor * multiple * dose)) for factor in factors))


def _compare(
    windows: Sequence[tuple[int, ...]],
    probed: Sequence[Sequence[ScoredAnswer]],
    quick: Mapping[str, float],
    budget: float,
) -> tuple[int, tuple[Window, ...]]:
    """Choose the window with most tone at the budget: the first, unless another gains more than a standard error."""
    answers = [answer for of_window in probed for answer in of_window]
    samples = _samples(
        answers,
        quick,
        [window for window, of_window in enumerate(probed) for _ in of_window],
        [(answer.cell.emotion, answer.prompt) for answer in answers],
    )
    limit = LIMIT / max(quick.values())
    tones = tones_at_cost(samples, budget, limit, resamples(int(samples.cluster.max()) + 1))
    gains = tones - tones[0]
    errors = [float(np.std(gain[np.isfinite(gain)])) for gain in gains]
    best = max(range(len(windows)), key=lambda i: gains[i, 0] if gains[i, 0] > errors[i] else 0.0)
    numbers = zip(windows, tones[:, 0], gains[:, 0], errors, strict=True)
    return best, tuple(Window(layers, *(_rounded(float(number)) for number in rest)) for layers, *rest in numbers)


def _of_emotions(answers: Sequence[ScoredAnswer], quick: Mapping[str, float]) -> Samples:
    """Group answers by emotion, with those to one prompt as a cluster."""
    emotions = tuple(quick)
    if silent := set(emotions) - {str(answer.cell.emotion) for answer in answers}:
        raise InputError(f"All answers in {sorted(silent)[0]} are empty.", "Leave it out, or give other prompts.")
    return _samples(answers, quick, [emotions.index(str(answer.cell.emotion)) for answer in answers])


def _samples(
    answers: Sequence[ScoredAnswer],
    quick: Mapping[str, float],
    groups: Sequence[int],
    clusters: Sequence[Any] | None = None,
) -> Samples:
    """Return answers as numbers, with doses in quick doses of their emotion."""
    clusters = [answer.prompt for answer in answers] if clusters is None else clusters
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    return Samples(
        group=np.array(groups),
        cluster=np.array([index[cluster] for cluster in clusters]),
        dose=np.array([answer.cell.strength / quick[str(answer.cell.emotion)] for answer in answers]),
        cost=np.array([answer.cost for answer in answers]),
        tone=np.array([answer.tone for answer in answers]),
    )


def _multiples(samples: Samples, fit: CostFit, budget: float, reach: float = 1.0) -> list[float]:
    """Return the dose at which each group costs the budget, at most `reach` times the highest dose measured in it."""
    groups = range(len(fit.factors))
    tops = [float(samples.dose[samples.group == group].max()) for group in groups]
    return [min(fit.dose(group, budget), reach * tops[group]) for group in groups]


def _points(answers: Sequence[ScoredAnswer], hits: Sequence[bool] | None) -> tuple[Point, ...]:
    """Summarise the answers of one emotion, by rising dose."""
    points = []
    for dose in sorted({answer.cell.strength for answer in answers}):
        rows = [i for i, answer in enumerate(answers) if answer.cell.strength == dose]
        costs = np.array([answers[i].cost for i in rows])
        tones = [answers[i].tone for i in rows if not math.isnan(answers[i].tone)]
        points.append(
            Point(
                dose=dose,
                n=len(rows),
                cost=_rounded(float(costs.mean())),
                standard_error=_rounded(float(costs.std(ddof=1)) / math.sqrt(len(rows))) if len(rows) > 1 else None,
                tone=_rounded(float(np.mean(tones))) if tones else None,
                hit_rate=_rounded(float(np.mean([hits[i] for i in rows]))) if hits is not None else None,
            )
        )
    return tuple(points)


def _hits(answers: Sequence[ScoredAnswer], emotion: str, judge: Judge | None) -> list[bool] | None:
    """Return which answers the judge assigns to the emotion: a basic one among the basic ones, any other among all."""
    label = heard_as(judge, emotion) if judge else None
    if judge is None or label is None:
        return None
    choice = BASIC if emotion in BASIC else judge.labels
    among = [name for name in choice if name in judge.labels and name != "neutral"]
    heard = judge.probabilities([answer.text for answer in answers], among)
    return [all(heard[label][i] >= shares[i] for shares in heard.values()) for i in range(len(answers))]


class _Curve(NamedTuple):
    """The cost of one emotion: factor · dose^exponent, and the standard error of the factor."""

    exponent: float
    factor: float
    error: float


def _settled(
    curve: _Curve,
    points: Sequence[Point],
    levels: Sequence[Point],
    dose: float,
    rises: bool,
    budget: float,
    sample: tuple[float, ...],
) -> EmotionResult:
    """Settle the dose of one emotion, and state why it is not higher."""
    stopped = "budget" if curve.factor * dose**curve.exponent >= 0.99 * budget else "limit"
    lower = [point.dose for point in levels if FROM * dose <= point.dose < dose]
    if lower and not rises:
        dose, stopped = min(lower), "saturated"
    nearest = min(levels, key=lambda point: abs(math.log(point.dose / dose)))
    power = dose**curve.exponent
    return EmotionResult(
        dose=dose,
        cost=_rounded(curve.factor * power),
        standard_error=_rounded(curve.error * power),
        hit_rate=nearest.hit_rate,
        stopped=stopped,
        factor=_rounded(curve.factor),
        points=tuple(points),
        sample=sample,
    )


def _rounded(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
