"""What is made of the answers of an evaluation: scores of cells, summaries of ways, confusion, kinds of prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from emosteer._util.stats import Estimate, estimate, rank_correlation
from emosteer.eval.judges import BASIC, Judge
from emosteer.eval.prompts import as_prompt
from emosteer.eval.sampling import Answer, Cell
from emosteer.eval.steering.families import FAMILY_OF
from emosteer.eval.steering.measures import Measures, Scores
from emosteer.eval.steering.results import CellResult, KindResult, WaySummary

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

MONOTONE = 0.9
"""Spearman's correlation from which a dose-response counts as rising."""

NEAR = 0.15
"""Largest difference, in nats per token, at which a cost agrees with the one stored in the file."""

__all__ = ["MONOTONE", "NEAR", "confusion", "family_confusion", "kinds_of", "result", "scores_of", "summary"]


def scores_of(
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


def result(cell: Cell, scores: Scores) -> CellResult:
    """Return the result of a cell, with intervals."""
    text, judged = _estimates(scores)
    return CellResult(**vars(cell), n=scores.n, text=text, judged=judged, variety=scores.variety)


def kinds_of(
    measures: Measures, answers: Sequence[Answer], ways: Sequence[str], emotions: Sequence[str], strength: float
) -> tuple[KindResult, ...]:
    """Return the results of each way for each kind of prompts, as means over emotions."""
    of_answer = [as_prompt(answer.prompt).kind for answer in answers]
    results = []
    for way in ways:
        for kind in filter(None, dict.fromkeys(of_answer)):
            cells = [Cell(emotion, strength, way) for emotion in emotions]
            rows = [[i for i, a in enumerate(answers) if (a.cell, of_answer[i]) == (cell, kind)] for cell in cells]
            known = [measures.of(own, cell.emotion) for own, cell in zip(rows, cells, strict=True) if own]
            if known:
                scores = Scores.mean(known)
                results.append(KindResult(way, kind, scores.n, *_estimates(scores)))
    return tuple(results)


def _estimates(scores: Scores) -> tuple[dict[str, Estimate], dict[str, dict[str, Estimate]]]:
    def estimates(values: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
        return {name: known for name, resampled in values.items() if (known := estimate(resampled))}

    return estimates(scores.text), {judge: estimates(values) for judge, values in scores.judged.items()}


def summary(
    steered: SteeredModel,
    way: str,
    additive: bool,
    scores: Mapping[Cell, Scores],
    judges: Sequence[Judge],
    emotions: Sequence[str],
    core: Sequence[str],
    levels: Sequence[float],
) -> WaySummary:
    """Summarise a way of steering at the highest strength."""
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
            means = [float(values["probability"][0]) for values in heard if values and "probability" in values]
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


def confusion(
    measures: Measures, answers: Sequence[Answer], way: str, strength: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Return judge → basic emotion asked for → basic emotion judged → share of the answers of a way."""
    known = [judge for judge in measures.heard if any(name in measures.heard[judge] for name in BASIC)]
    chosen = {judge: measures.choices(judge) for judge in known}
    return _shares(chosen, answers, [Cell(emotion, strength, way) for emotion in BASIC])


def family_confusion(
    measures: Measures, answers: Sequence[Answer], way: str, strength: float, emotions: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return judge → emotion asked for that is not basic → family judged → share of the answers of a way."""
    known = [judge for judge in measures.heard if any(name in FAMILY_OF for name in measures.heard[judge])]
    chosen = {judge: measures.families(judge) for judge in known}
    return _shares(chosen, answers, [Cell(name, strength, way) for name in emotions if name not in BASIC])


def _shares(
    chosen: Mapping[str, tuple[Sequence[str], np.ndarray]], answers: Sequence[Answer], cells: Sequence[Cell]
) -> dict[str, dict[str, dict[str, float]]]:
    table: dict[str, dict[str, dict[str, float]]] = {judge: {} for judge in chosen}
    for judge, (labels, choice) in chosen.items():
        for cell in cells:
            rows = [i for i, answer in enumerate(answers) if answer.cell == cell]
            if rows and cell.emotion:
                shares = [float((choice[rows] == k).mean()) for k in range(len(labels))]
                table[judge][cell.emotion] = dict(zip(labels, shares, strict=True))
    return table
