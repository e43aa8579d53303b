"""Evaluation of steering: what tones do to text and what they cost, with dose-response, controls and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emosteer._util.numbers import checked_seed
from emosteer._util.stats import Estimate, estimate, rank_correlation
from emosteer.errors import InputError
from emosteer.eval.judges import BASIC, Agreement, Judge, agreement, heard_as, judges_of
from emosteer.eval.language import language_of
from emosteer.eval.prompts import load_prompts, spread
from emosteer.eval.sampling import Answer, Cell, Control, Ways, decoding, generate_cells
from emosteer.eval.steering.measures import Measures, Scores

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

SCHEMA = 1
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FULL = {"n_prompts": 60, "seeds": 3}
"""The grid of `--full`."""

PROMPTS, CONTROLS, FEWER = 20, 10, 4
"""Prompts of the default grid, for basic emotions, for controls and for the other emotions."""

PLAIN = 4
"""Unsteered answers to each prompt, with which all others are compared."""

MONOTONE = 0.9
"""Spearman's correlation from which a dose-response counts as rising."""

NEAR = 0.15
"""Largest difference, in nats per token, at which a cost agrees with the one stored in the file."""

WAYS: Ways = {"additive": {}, "natural": {"recipe": "natural"}}
"""Ways of steering measured by default; the dose in the file is that of the first."""

__all__ = ["FULL", "STRENGTHS", "WAYS", "CellResult", "SteeringReport", "WaySummary", "evaluate_steering"]


@dataclass(frozen=True)
class CellResult:
    """Results of one cell.

    Args:
        way: Name of the way of steering; empty where nothing is steered.
        emotion: The emotion asked for and listened for; None for the mean over the basic emotions.
        strength: Strength in calibrated doses.
        control: None for the tone itself, else the control as in `Cell`.
        n: Number of answers.
        text: Score → estimate, as in `Scores`.
        judged: Judge → score → estimate, as in `Scores`, without judges that do not know the emotion.
        variety: Score → value, as in `Scores`.
    """

    way: str
    emotion: str | None
    strength: float
    control: Control | None
    n: int
    text: Mapping[str, Estimate]
    judged: Mapping[str, Mapping[str, Estimate]]
    variety: Mapping[str, float]


@dataclass(frozen=True)
class WaySummary:
    """Summary of one way of steering at the highest strength, over the basic emotions.

    Args:
        way: Name of the way.
        strength: The highest strength.
        cost: Mean over the basic emotions, in nats per token.
        hit_rate: Judge → mean over the basic emotions.
        worst: Judge → the basic emotion with the lowest hit rate, and that rate.
        top_3: Judge → mean over the emotions of `GOEMOTIONS_MAP`, for a judge that knows more than the basic ones.
        dose_response: Judge → emotion → Spearman's correlation of strength and mean judged probability.
        rising: Judge → number of emotions whose correlation is at least .9.
        stored_cost: Emotion → cost stored in the file and cost as measured, for the additive way at strength 1.0.
        near_stored: Number of emotions whose two costs are within 0.15 nats.
    """

    way: str
    strength: float
    cost: Estimate | None
    hit_rate: Mapping[str, Estimate]
    worst: Mapping[str, tuple[str, float]]
    top_3: Mapping[str, Estimate]
    dose_response: Mapping[str, Mapping[str, float]]
    rising: Mapping[str, int]
    stored_cost: Mapping[str, tuple[float, float]]
    near_stored: int


@dataclass(frozen=True)
class SteeringReport:
    """Measured effects of the tones of a set of vectors.

    Args:
        about: Model, versions, language of the prompts, judges and the languages that they are known to know, those
            left out because they do not know this one, numbers of prompts and seeds, how answers were decoded, options
            of the ways.
        emotions: The emotions asked for.
        cells: Every cell, and for every way, strength and control the mean over the basic emotions.
        ways: A summary of each way.
        confusion: Way → judge → emotion asked for → basic emotion judged → share of answers, at the highest strength.
        agreement: Agreement of every two judges on the answers in basic emotions.
        not_heard: Judge → emotions that it does not know.
    """

    about: Mapping[str, Any]
    emotions: tuple[str, ...]
    cells: tuple[CellResult, ...]
    ways: tuple[WaySummary, ...]
    confusion: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
    agreement: tuple[Agreement, ...]
    not_heard: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    def cell(self, way: str, emotion: str | None, strength: float, control: Control | None = None) -> CellResult | None:
        """Return the result of one cell, or None if it was not measured."""
        key = (way, emotion, strength, control)
        return next((cell for cell in self.cells if (cell.way, cell.emotion, cell.strength, cell.control) == key), None)


def evaluate_steering(
    steered: SteeredModel,
    *,
    judges: Sequence[Judge] | None = None,
    emotions: Sequence[str] | None = None,
    ways: Ways | None = None,
    strengths: Sequence[float] = STRENGTHS,
    prompts: Sequence[str] | None = None,
    language: str | None = None,
    n_prompts: int | None = None,
    seeds: int = 1,
    controls: bool = True,
    max_new_tokens: int = 32,
    temperature: float = 0.8,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> SteeringReport:
    """Measure what tones do to text, and what they cost.

    The default grid has 20 held-out prompts for the basic emotions at every strength, 10 of them for the controls at
    the highest, 4 for the other emotions that a judge knows, and for the rest 4 at the highest strength only. With the
    34 emotions of the built-in concept sets, that is about 1,100 answers of 32 tokens for one way of steering, 2,000
    for two.

    Args:
        steered: The model.
        judges: Judges of the emotion; by default those that come with emosteer and know the language. A judge that does
            not know the language of the prompts is left out, with a warning; without any there are no hit rates.
        emotions: Emotions to measure; all of the vectors by default.
        ways: Name of a way of steering → options for `SteeredModel.generate`; `WAYS` by default.
        strengths: Strengths in calibrated doses; 0 is always measured. The summary is of the highest.
        prompts: Prompts; the held-out questions by default, for a base model the held-out openings.
        language: Language of the prompts, in which the control names the emotion; by default the first of the vectors'
            languages that there are prompts in.
        n_prompts: Number of prompts for every emotion, strength and control, instead of the default grid.
        seeds: Number of answers to each prompt.
        controls: Whether to measure random directions, shuffled labels, the flipped sign and the emotion in a system
            message.
        max_new_tokens: Length of the longest answer, in tokens.
        temperature: Sampling temperature; for everything else, such as `top_p`, the model's generation config holds.
        seed: Seed of sampling and controls.
        cache: Folder that keeps finished batches of answers, so that an interrupted measurement can resume.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        The report.

    Raises:
        ToneError: An emotion or a strength cannot be used.
        InputError: There are no strengths, prompts or judges, a number is not positive, there are no prompts in this
            language, or a way of steering sets what is the same for all ways.
        MissingExtraError: The sentence encoder is not available.
    """
    ways = WAYS if ways is None else ways
    emotions = tuple(steered.vectors.emotions if emotions is None else dict.fromkeys(emotions))
    for emotion in emotions:
        steered.vectors.dose(emotion)  # a misspelt one is an error now
    levels = tuple(sorted({float(strength) for strength in strengths} - {0.0}))
    seed, language = checked_seed(seed), language_of(steered.vectors, language, prompts)
    if prompts is None:
        kind: Literal["questions", "openings"] = "questions" if steered.tokenizer.chat_template else "openings"
        prompts = load_prompts("held_out", language, kind=kind)
    prompts = tuple(dict.fromkeys(prompts))
    _check(judges, emotions, ways, levels, prompts, n_prompts, seeds)
    judges, left_out = judges_of(language, judges)

    core = tuple(name for name in emotions if name in BASIC) or emotions
    known = {name for name in emotions if any(heard_as(judge, name) for judge in judges)}
    asked = spread(prompts, PROMPTS if n_prompts is None else n_prompts)
    cells = {Cell(None, 0.0, control="unsteered"): _numbered(asked, max(PLAIN, seeds))}
    for emotion in emotions:
        whole = n_prompts is not None or emotion in core
        grid = levels if whole or emotion in known else levels[-1:]
        numbered = _numbered(asked if whole else spread(asked, FEWER), seeds)
        cells |= {Cell(emotion, level, way): numbered for way in ways for level in grid}
    if controls:
        shuffled = len(steered.vectors.emotions) > 1
        numbered = _numbered(asked if n_prompts is not None else spread(asked, CONTROLS), seeds)
        cells |= dict.fromkeys(_controls(core, ways, levels[-1], shuffled=shuffled), numbered)
    sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    answers = generate_cells(steered, cells, ways=ways, language=language, cache=cache, progress=progress, **sampling)

    measures = Measures(answers, judges, language)
    scores = _scores(measures, answers, cells, emotions, core)
    results = tuple(_result(cell, cell_scores) for cell, cell_scores in scores.items())
    in_basic = [i for i, answer in enumerate(answers) if answer.cell.emotion in core and answer.cell.control is None]
    base = steered.vectors.base_model
    about = {
        "emosteer_version": version("emosteer"),
        "model": base.repo_id or base.model_type,
        "language": language,
        "judges": [judge.name for judge in judges],
        "judges_know": {judge.name: list(spoken) for judge in judges if (spoken := getattr(judge, "languages", None))},
        "judges_left_out": list(left_out),
        "n_prompts": len(asked),
        "seeds": seeds,
        "n_answers": len(answers),
        "strengths": [0.0, *levels],
        "basic": list(core),
        "ways": {name: repr(dict(options)) for name, options in ways.items()},
        **sampling,
        "decoding": decoding(steered, max_new_tokens=max_new_tokens, temperature=temperature),
    }
    return SteeringReport(
        about,
        emotions,
        results,
        tuple(_summary(steered, way, not ways[way], scores, judges, emotions, core, levels) for way in ways),
        {way: _confusion(measures, answers, way, levels[-1]) for way in ways},
        agreement({name: {label: heard[label][in_basic] for label in heard} for name, heard in measures.heard.items()}),
        {judge.name: tuple(name for name in emotions if not heard_as(judge, name)) for judge in judges},
    )


def _check(
    judges: Sequence[Judge] | None,
    emotions: Sequence[str],
    ways: Ways,
    levels: Sequence[float],
    prompts: Sequence[str],
    n_prompts: int | None,
    seeds: int,
) -> None:
    for name, values in (("judge", judges), ("emotion", emotions), ("way of steering", ways), ("prompt", prompts)):
        if values is not None and not values:
            raise InputError(f"There is no {name} to measure with.", "Give at least one.")
    if not levels or not all(level > 0 for level in levels):
        raise InputError("The strengths must be positive numbers, beside 0.", "For example: 0, 0.5, 1.")
    if seeds < 1 or (n_prompts is not None and not 1 <= n_prompts <= len(prompts)):
        raise InputError(
            f"{n_prompts} prompts and {seeds} answers to each cannot be measured.",
            f"Give 1 to {len(prompts)} prompts, and 1 answer or more.",
        )
    names = [judge.name for judge in judges or ()]
    if "" in ways or len(set(names)) < len(names):
        raise InputError("Every way of steering and every judge needs a name of its own.")


def _numbered(prompts: Sequence[str], seeds: int) -> tuple[tuple[str, int], ...]:
    return tuple((prompt, number) for number in range(seeds) for prompt in prompts)


def _controls(core: Sequence[str], ways: Ways, strength: float, *, shuffled: bool) -> list[Cell]:
    steering: list[Control] = ["random", "shuffled", "flipped"] if shuffled else ["random", "flipped"]
    cells = [Cell(emotion, strength, way, control) for way in ways for control in steering for emotion in core]
    return cells + [Cell(emotion, strength, "", "prompt_only") for emotion in core]


def _scores(
    measures: Measures,
    answers: Sequence[Answer],
    cells: Mapping[Cell, object],
    emotions: Sequence[str],
    core: Sequence[str],
) -> dict[Cell, Scores]:
    """Compute the scores of every cell, of unsteered answers for each emotion, and means over the basic emotions."""
    rows: dict[Cell, list[int]] = {}
    for i, answer in enumerate(answers):
        rows.setdefault(answer.cell, []).append(i)
    scores: dict[Cell, Scores] = {}
    for cell in cells:
        if cell.control == "unsteered":
            for emotion in emotions:  # on the prompts on which its tone is measured
                prompts = {answer.prompt for answer in answers if answer.cell.emotion == emotion}
                same = [i for i in rows[cell] if answers[i].prompt in prompts]
                scores[Cell(emotion, 0.0, "", "unsteered")] = measures.of(same, emotion)
        else:
            scores[cell] = measures.of(rows[cell], cell.emotion)
    kinds = dict.fromkeys((cell.strength, cell.way, cell.control) for cell in scores)
    for kind in kinds:
        of_core = [scores[cell] for emotion in core if (cell := Cell(emotion, *kind)) in scores]
        scores[Cell(None, *kind)] = Scores.mean(of_core)
    return scores


def _result(cell: Cell, scores: Scores) -> CellResult:
    def estimates(values: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
        return {name: known for name, resampled in values.items() if (known := estimate(resampled))}

    judged = {judge: estimates(values) for judge, values in scores.judged.items()}
    return CellResult(**vars(cell), n=scores.n, text=estimates(scores.text), judged=judged, variety=scores.variety)


def _summary(
    steered: SteeredModel,
    way: str,
    additive: bool,
    scores: Mapping[Cell, Scores],
    judges: Sequence[Judge],
    emotions: Sequence[str],
    core: Sequence[str],
    levels: Sequence[float],
) -> WaySummary:
    top = levels[-1]
    at_top = {name: scores[Cell(name, top, way)] for name in emotions}
    mean = scores[Cell(None, top, way)]
    hit_rate: dict[str, Estimate] = {}
    worst: dict[str, tuple[str, float]] = {}
    top_3: dict[str, Estimate] = {}
    response: dict[str, dict[str, float]] = {}
    for judge in (judge.name for judge in judges):
        judged = {name: at_top[name].judged.get(judge, {}) for name in emotions}
        hits = {name: float(judged[name]["hit"][0]) for name in core if "hit" in judged[name]}
        if hits and (rate := estimate(mean.judged[judge]["hit"])):
            lowest = min(hits, key=lambda name: hits[name])
            hit_rate[judge], worst[judge] = rate, (lowest, hits[lowest])
        ranked = [values["top_3"] for values in judged.values() if "top_3" in values]
        if ranked and (rate := estimate(np.mean(ranked, axis=0))):
            top_3[judge] = rate
        response[judge] = {}
        for name in emotions:
            curve = [Cell(name, 0.0, "", "unsteered"), *(Cell(name, level, way) for level in levels)]
            heard = [scores[cell].judged.get(judge) for cell in curve if cell in scores]
            means = [float(values["probability"][0]) for values in heard if values]
            correlation = rank_correlation(range(len(means)), means) if len(means) == len(curve) > 2 else None
            if correlation is not None:
                response[judge][name] = correlation
    stored = {}
    if additive and top == 1.0:
        for name in emotions:
            dose, cost = steered.vectors.dose(name), at_top[name].text.get("cost")
            if dose.cost is not None and cost is not None:
                stored[name] = (dose.cost, float(cost[0]))
    return WaySummary(
        way=way,
        strength=top,
        cost=estimate(mean.text["cost"]) if "cost" in mean.text else None,
        hit_rate=hit_rate,
        worst=worst,
        top_3=top_3,
        dose_response=response,
        rising={judge: sum(value >= MONOTONE for value in curves.values()) for judge, curves in response.items()},
        stored_cost=stored,
        near_stored=sum(abs(measured - expected) <= NEAR for expected, measured in stored.values()),
    )


def _confusion(
    measures: Measures, answers: Sequence[Answer], way: str, strength: float
) -> dict[str, dict[str, dict[str, float]]]:
    table: dict[str, dict[str, dict[str, float]]] = {}
    for judge in measures.heard:
        table[judge] = {}
        if not any(name in measures.heard[judge] for name in BASIC):
            continue
        labels, chosen = measures.choices(judge)
        for emotion in BASIC:
            rows = [i for i, answer in enumerate(answers) if answer.cell == Cell(emotion, strength, way)]
            if rows:
                shares = [float((chosen[rows] == k).mean()) for k in range(len(labels))]
                table[judge][emotion] = dict(zip(labels, shares, strict=True))
    return table
