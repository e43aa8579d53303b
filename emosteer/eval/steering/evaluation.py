"""Evaluation of steering: what tones do to text and what they cost, with dose-response, controls and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util.numbers import checked_seed
from emosteer.errors import InputError
from emosteer.eval.judges import BASIC, Judge, agreement, heard_as, judges_of
from emosteer.eval.language import language_of
from emosteer.eval.prompts import Prompt, as_prompt, spread, usual_prompts
from emosteer.eval.sampling import Cell, Control, Ways, adds, asks, decoding, generate_cells
from emosteer.eval.steering.measures import Measures
from emosteer.eval.steering.results import SteeringReport
from emosteer.eval.steering.summaries import confusion, family_confusion, kinds_of, result, scores_of, summary
from emosteer.steering.recipes import RECIPES, recipe_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from emosteer.model import SteeredModel

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
FULL = {"n_prompts": 60, "seeds": 3}
"""The grid of `--full`."""

PROMPTS, CONTROLS, FEWER = 24, 12, 6
"""Prompts of the default grid, for basic emotions, for controls and for the other emotions: as many of each kind."""

PLAIN = 4
"""Unsteered answers to each prompt, with which all others are compared."""

WAYS: Ways = {"additive": {}, **{name: {"recipe": name} for name in RECIPES}}
"""Ways of steering that have a name; the dose in the file is that of the first."""

__all__ = [
    "FULL",
    "PLAIN",
    "PROMPTS",
    "STRENGTHS",
    "WAYS",
    "check_grid",
    "default_ways",
    "evaluate_steering",
    "possible_ways",
]


def possible_ways(tokenizer: PreTrainedTokenizerBase) -> Ways:
    """Return those of `WAYS` that a model can be steered with: one without a chat template cannot be asked."""
    return {name: how for name, how in WAYS.items() if tokenizer.chat_template or not asks(how)}


def default_ways(steered: SteeredModel) -> Ways:
    """Return those that take no drafts, which would take several times as long."""
    recipes = {name: recipe_of(how.get("recipe"), carried=False) for name, how in WAYS.items()}
    slow = [name for name, recipe in recipes.items() if recipe and recipe.drafts > 1]
    return {name: how for name, how in possible_ways(steered.tokenizer).items() if name not in slow}


def evaluate_steering(
    steered: SteeredModel,
    *,
    judges: Sequence[Judge] | None = None,
    emotions: Sequence[str] | None = None,
    ways: Ways | None = None,
    strengths: Sequence[float] = STRENGTHS,
    prompts: Sequence[str | Prompt] | None = None,
    language: str | None = None,
    n_prompts: int | None = None,
    n_others: int | None = None,
    seeds: int = 1,
    controls: bool = True,
    max_new_tokens: int = 32,
    temperature: float = 0.8,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> SteeringReport:
    """Measure what tones do to text, and what they cost.

    The default grid has 24 held-out prompts for the basic emotions at every strength, 12 of them for the controls at
    the highest, 6 for the other emotions that a judge knows, and for the rest 6 at the highest strength only. With the
    34 emotions of the built-in concept sets, that is about 1,400 answers of 32 tokens for one way of steering, 5,000
    for four.

    Args:
        steered: The model.
        judges: Judges of the emotion; by default those that come with emosteer and know the language. A judge that does
            not know the language of the prompts is left out, with a warning; without any there are no hit rates.
        emotions: Emotions to measure; all of the vectors by default.
        ways: Name of a way of steering → options for `SteeredModel.generate`; those of `default_ways` by default.
        strengths: Strengths in calibrated doses; 0 is always measured. The summary is of the highest.
        prompts: Prompts; by default the held-out bench, in a language that has none the held-out questions, for a base
            model the held-out openings.
        language: Language of the prompts, in which the control names the emotion; by default the first of the vectors'
            languages that there are prompts in.
        n_prompts: Number of prompts for every emotion, strength and control, instead of the default grid.
        n_others: Number of prompts for the emotions that are not basic, at most as many as for the others.
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
    ways = default_ways(steered) if ways is None else ways
    emotions = tuple(steered.vectors.emotions if emotions is None else dict.fromkeys(emotions))
    for emotion in emotions:
        steered.vectors.dose(emotion)  # a misspelt one is an error now
    levels = tuple(sorted({float(strength) for strength in strengths} - {0.0}))
    texts = None if prompts is None else [as_prompt(prompt).text for prompt in prompts]
    seed, language = checked_seed(seed), language_of(steered.vectors, language, texts)
    usual = usual_prompts("held_out", language, chat=bool(steered.tokenizer.chat_template)) if prompts is None else ()
    held_out = tuple(dict.fromkeys(map(as_prompt, prompts or usual)))
    n_asked = min(PROMPTS, len(held_out)) if n_prompts is None else n_prompts
    check_grid(judges, emotions, ways, levels, held_out, n_asked, n_others, seeds)
    judges, left_out = judges_of(language, judges)

    core = tuple(name for name in emotions if name in BASIC) or emotions
    known = {name for name in emotions if any(heard_as(judge, name) for judge in judges)}
    asked = spread(held_out, n_asked)
    fewer = spread(asked, n_others or (FEWER if n_prompts is None else n_prompts))
    cells = {Cell(None, 0.0, control="unsteered"): _numbered(asked, max(PLAIN, seeds))}
    for emotion in emotions:
        grid = levels if n_prompts is not None or emotion in (*core, *known) else levels[-1:]
        numbered = _numbered(asked if emotion in core else fewer, seeds)
        cells |= {Cell(emotion, level, way): numbered for way in ways for level in grid}
    if controls:
        shuffled = len(steered.vectors.emotions) > 1
        numbered = _numbered(asked if n_prompts is not None else spread(asked, CONTROLS), seeds)
        cells |= dict.fromkeys(_controls(core, ways, levels[-1], shuffled=shuffled), numbered)
    sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    answers = generate_cells(steered, cells, ways=ways, language=language, cache=cache, progress=progress, **sampling)

    measures = Measures(answers, judges, language)
    scores = scores_of(measures, answers, cells, emotions, core)
    results = tuple(result(cell, cell_scores) for cell, cell_scores in scores.items())
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
        "n_others": len(fewer),
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
        tuple(summary(steered, way, not ways[way], scores, judges, emotions, core, levels) for way in ways),
        {way: confusion(measures, answers, way, levels[-1]) for way in ways},
        agreement({name: {label: heard[label][in_basic] for label in heard} for name, heard in measures.heard.items()}),
        {judge.name: tuple(name for name in emotions if not heard_as(judge, name)) for judge in judges},
        kinds_of(measures, answers, [*ways], core, levels[-1]),
        {way: family_confusion(measures, answers, way, levels[-1], emotions) for way in ways},
    )


def check_grid(
    judges: Sequence[Judge] | None,
    emotions: Sequence[str],
    ways: Ways,
    levels: Sequence[float],
    prompts: Sequence[Prompt],
    n_prompts: int,
    n_others: int | None,
    seeds: int,
) -> None:
    """Check that there is something to measure, and to measure it with.

    Raises:
        InputError: As for `evaluate_steering`.
    """
    for name, values in (("judge", judges), ("emotion", emotions), ("way of steering", ways), ("prompt", prompts)):
        if values is not None and not values:
            raise InputError(f"There is no {name} to measure with.", "Give at least one.")
    if not levels or not all(level > 0 for level in levels):
        raise InputError("The strengths must be positive numbers, beside 0.", "For example: 0, 0.5, 1.")
    if seeds < 1 or not 1 <= n_prompts <= len(prompts):
        raise InputError(
            f"{n_prompts} prompts and {seeds} answers to each cannot be measured.",
            f"Give 1 to {len(prompts)} prompts, and 1 answer or more.",
        )
    if n_others is not None and not 1 <= n_others <= n_prompts:
        raise InputError(f"{n_others} prompts for the other emotions cannot be had of {n_prompts}.", "Give fewer.")
    names = [judge.name for judge in judges or ()]
    if "" in ways or len(set(names)) < len(names):
        raise InputError("Every way of steering and every judge needs a name of its own.")


def _numbered(prompts: Sequence[Prompt], seeds: int) -> tuple[tuple[Prompt, int], ...]:
    return tuple((prompt, number) for number in range(seeds) for prompt in prompts)


def _controls(core: Sequence[str], ways: Ways, strength: float, *, shuffled: bool) -> list[Cell]:
    steering: list[Control] = ["random", "shuffled", "flipped"] if shuffled else ["random", "flipped"]
    cells = [
        Cell(emotion, strength, way, control)
        for way, options in ways.items()
        for control in steering
        if control != "random" or adds(options)
        for emotion in core
    ]
    return cells + [Cell(emotion, strength, "", "prompt_only") for emotion in core]
