"""What crosses languages: vectors made from each language, and from all, on prompts in each language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer._util.numbers import checked_seed
from emosteer._util.progress import Meter, counted
from emosteer._util.stats import Estimate, estimate
from emosteer.errors import InputError
from emosteer.eval.judges import BASIC, Judge, judges_of
from emosteer.eval.language import listed
from emosteer.eval.prompts import Prompt, spread, usual_prompts
from emosteer.eval.sampling import Cell, Ways, decoding, generate_cells
from emosteer.eval.steering.evaluation import PLAIN, PROMPTS, check_grid, possible_ways
from emosteer.eval.steering.measures import Measures, Scores
from emosteer.eval.steering.summaries import scores_of
from emosteer.model import SteeredModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors

SCHEMA = 1
DEFAULT_WAYS = ("natural", "asked_and_steered")
UNSTEERED = Cell(None, 0.0, control="unsteered")

__all__ = ["Crossing", "LanguagesReport", "evaluate_languages", "require_crossing"]


@dataclass(frozen=True)
class Crossing:
    """What vectors made from one language, or several, do on prompts in one language, at strength 1.0.

    Args:
        way: Name of the way of steering; empty where nothing is steered.
        made_from: Languages of the texts that the vectors were made from, as `"en"` or `"en,zh"`; empty where nothing
            is steered.
        language: Language of the prompts.
        emotion: The emotion asked for and listened for; None for the mean over those measured.
        n: Number of answers.
        cost: Nats a token above the plain answers to the same prompts; None if no answer has a token.
        hit: Judge → share of answers in which it chooses the emotion among the basic ones; none of a judge that does
            not know it.
        of_own: Judge → that share divided by the share that the language's own vectors reach on the same prompts, drawn
            together; none of these vectors themselves, and none where they reach nothing. Resamples in which they
            reach nothing do not count.
    """

    way: str
    made_from: str
    language: str
    emotion: str | None
    n: int
    cost: Estimate | None
    hit: Mapping[str, Estimate]
    of_own: Mapping[str, Estimate]


@dataclass(frozen=True)
class LanguagesReport:
    """What crosses languages.

    Args:
        about: Model, versions, languages of the prompts, what the vectors were made from, emotions, judges of each
            language and those left out, number of prompts, how answers were decoded, options of the ways.
        crossings: For each language of the prompts the plain answers, then each way with each set of vectors, the mean
            over the emotions first.
    """

    about: Mapping[str, Any]
    crossings: tuple[Crossing, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}

    def crossing(self, way: str, made_from: str, language: str, emotion: str | None = None) -> Crossing:
        """Return what one set of vectors does in one way on prompts in one language.

        Raises:
            KeyError: It was not measured.
        """
        key = (way, made_from, language, emotion)
        for one in self.crossings:
            if (one.way, one.made_from, one.language, one.emotion) == key:
                return one
        raise KeyError(key)


def evaluate_languages(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vectors: Mapping[str, EmotionVectors],
    *,
    judges: Sequence[Judge] | None = None,
    emotions: Sequence[str] | None = None,
    ways: Ways | None = None,
    n_prompts: int | None = None,
    max_new_tokens: int = 32,
    temperature: float = 0.8,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> LanguagesReport:
    """Measure what vectors made from one language do to text in another, compared with that language's own.

    Each set of vectors steers the same held-out prompts of each language, every emotion at strength 1.0. `emosteer eval
    steering --languages` makes the vectors too.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        vectors: What they were made from → vectors for the model: `"en"`, `"zh"`, and `"en,zh"` for a set of both. The
            prompts are in the languages that stand alone, two or more.
        judges: As for `evaluate_steering`; each judges the languages that it knows.
        emotions: Basic emotions to measure; all six by default.
        ways: As for `evaluate_steering`; by default the recipes `natural` and, of a chat model, `asked_and_steered`.
        n_prompts: Number of prompts in each language; 24 by default, as many of each kind.
        max_new_tokens: Length of the longest answer, in tokens.
        temperature: Sampling temperature.
        seed: Seed of sampling.
        cache: Folder that keeps finished batches of answers, so that an interrupted measurement can resume.
        progress: Whether to show progress on standard error.

    Returns:
        The report.

    Raises:
        ToneError: A set of vectors does not know an emotion.
        InputError: There are fewer than two languages, or no prompts in one; an emotion is not a basic one; or there
            are no emotions, ways or judges, or not that many prompts.
        IncompatibleModelError: Vectors are for another shape of model.
        MissingExtraError: The sentence encoder is not available.
    """
    languages, chat = [name for name in vectors if "," not in name], bool(tokenizer.chat_template)
    prompts = require_crossing(languages, emotions, n_prompts, chat=chat)
    emotions, seed = tuple(dict.fromkeys(BASIC if emotions is None else emotions)), checked_seed(seed)
    if ways is None:
        ways = {name: how for name, how in possible_ways(tokenizer).items() if name in DEFAULT_WAYS}
    for asked in prompts.values():
        check_grid(judges, emotions, ways, (1.0,), asked, len(asked), None, 1)
    speakers = {made_from: SteeredModel(model, tokenizer, of) for made_from, of in vectors.items()}
    for speaker in speakers.values():
        for emotion in emotions:
            speaker.vectors.dose(emotion)  # an unknown one is an error now
    heard = {language: judges_of(language, judges) for language in languages}

    sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature}
    cells = [Cell(emotion, 1.0, way) for way in ways for emotion in emotions]
    total = sum(map(len, prompts.values())) * (PLAIN + len(speakers) * len(cells))
    crossings: list[Crossing] = []
    with Meter(f"Answering {counted(total, 'prompt')}", total, progress) as meter:
        for language, asked in prompts.items():
            same: dict[str, Any] = {"ways": ways, "language": language, "seed": seed, "cache": cache, **sampling}
            untoned = {UNSTEERED: [(prompt, number) for number in range(PLAIN) for prompt in asked]}
            toned = {cell: [(prompt, 0) for prompt in asked] for cell in cells}
            first, *_ = speakers.values()  # whose vectors do nothing to plain answers
            plain = generate_cells(first, untoned, progress=meter, **same)
            scores: dict[str, dict[Cell, Scores]] = {}
            for made_from, steered in speakers.items():
                answers = [*plain, *generate_cells(steered, toned, progress=meter, **same)]
                measures = Measures(answers, heard[language][0], language)
                scores[made_from] = scores_of(measures, answers, {**untoned, **toned}, emotions, emotions)
            crossings += _crossings(scores, language, (*ways,), (None, *emotions), len(plain))

    base = first.vectors.base_model
    about = {
        "emosteer_version": version("emosteer"),
        "model": base.repo_id or base.model_type,
        "languages": languages,
        "made_from": [*vectors],
        "emotions": list(emotions),
        "judges": {language: [judge.name for judge in known] for language, (known, _) in heard.items()},
        "judges_left_out": {language: list(left_out) for language, (_, left_out) in heard.items()},
        "n_prompts": len(asked),
        "ways": {name: repr(dict(options)) for name, options in ways.items()},
        "seed": seed,
        "decoding": decoding(first, **sampling),
    }
    return LanguagesReport(about, tuple(crossings))


def require_crossing(
    languages: Sequence[str], emotions: Sequence[str] | None, n_prompts: int | None, *, chat: bool
) -> dict[str, tuple[Prompt, ...]]:
    """Return the prompts that what crosses languages is measured on, if it can be.

    Args:
        languages: Languages of the prompts.
        emotions: As for `evaluate_languages`.
        n_prompts: As for `evaluate_languages`.
        chat: Whether the model has a chat template.

    Returns:
        Language → prompts.

    Raises:
        InputError: As for `evaluate_languages`.
    """
    if len(set(languages)) < 2:
        named = listed([*map(repr, languages)]) if languages else "none"
        raise InputError(f"Nothing can cross languages where there is {named} alone.", "Name two or more: en,zh")
    for name in BASIC if emotions is None else emotions or ("",):
        if name not in BASIC:
            raise InputError(
                f"{name!r} is not a basic emotion, and hits are counted among these.", f"They are {listed(BASIC)}."
            )
    usual = {language: usual_prompts("held_out", language, chat=chat) for language in languages}
    most = min(map(len, usual.values()))
    n = min(PROMPTS, most) if n_prompts is None else n_prompts
    if not 1 <= n <= most:
        raise InputError(f"{n} prompts cannot be asked in every language.", f"Give 1 to {most} prompts.")
    return {language: spread(prompts, n) for language, prompts in usual.items()}


def _crossings(
    scores: Mapping[str, Mapping[Cell, Scores]],
    language: str,
    ways: Sequence[str],
    emotions: Sequence[str | None],
    n_plain: int,
) -> list[Crossing]:
    """Return the results on prompts in one language, with how much of its own vectors' hits those of others reach."""

    def hits(of: Scores) -> dict[str, np.ndarray]:
        return {judge: values["hit"] for judge, values in of.judged.items() if "hit" in values}

    def estimates(values: Mapping[str, np.ndarray]) -> dict[str, Estimate]:
        return {judge: known for judge, resampled in values.items() if (known := estimate(resampled))}

    def crossing(made_from: str, cell: Cell, n: int | None = None) -> Crossing:
        of, ratios = scores[made_from or language][cell], {}
        if made_from not in ("", language):
            own = hits(scores[language][cell])
            with np.errstate(invalid="ignore", divide="ignore"):
                ratios = {judge: values / own[judge] for judge, values in hits(of).items()}
        cost = estimate(of.text["cost"]) if "cost" in of.text else None
        hit, of_own = estimates(hits(of)), estimates(ratios)
        return Crossing(cell.way, made_from, language, cell.emotion, n or of.n, cost, hit, of_own)

    unsteered = [crossing("", Cell(name, 0.0, "", "unsteered"), n_plain) for name in emotions]
    tones = [(way, made_from, name) for way in ways for made_from in scores for name in emotions]
    return [*unsteered, *(crossing(made_from, Cell(name, 1.0, way)) for way, made_from, name in tones)]
