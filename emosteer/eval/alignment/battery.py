"""The alignment battery: does a model's emotion space have the structure of the human one, in several languages?

Representational similarity, components against valence and arousal, held-out axes, Procrustes maps, prediction of word
ratings, transfer between languages, and what languages share; every value beside its controls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import combinations
from itertools import permutations as ordered
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emosteer._util.numbers import checked_seed
from emosteer._util.stats import DRAWS
from emosteer.concepts import ConceptSet
from emosteer.concepts.conceptset import built_in
from emosteer.errors import InputError, require
from emosteer.eval.alignment import statistics as st
from emosteer.eval.alignment.emotions import Emotions, geometry_of, halves, language_pair
from emosteer.eval.alignment.frames import MOODS, WORDS, frames_for
from emosteer.eval.alignment.ratings import score_predictions, stem_groups
from emosteer.eval.alignment.results import AlignmentReport, Ceiling, Geometry, WordRatings, plain
from emosteer.eval.alignment.states import Run, layer_grid
from emosteer.eval.alignment.words import Words, transfer_ratings
from emosteer.eval.norms import Norms, load_category_norms, load_norms

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

FEWEST_CATEGORIES = 8
"""Smallest number of categories in a set of ratings."""

FEWEST_STEMS = 50
"""Smallest number of stems in norms."""

FEW_WORDS = 300
"""Number of words below which a note warns of wide intervals."""

FOREIGN = 0.9
"""Tokens per character from which a tokenizer falls back to bytes: it has seen little of the language. Known languages
take .2 to .4 in an alphabet, and up to .85 in Chinese."""

OWN = "Glasgow Norms"
"""Source of the ratings in the built-in concept sets."""

Ratings = Mapping[str, Mapping[str, tuple[float, float]]]

__all__ = ["evaluate_alignment"]


def evaluate_alignment(
    steered: SteeredModel,
    *,
    norms: Norms | str | Path | Sequence[Norms | str | Path] = (),
    languages: Sequence[str] | None = None,
    categories: Ratings | str | Path | None = None,
    permutations: int = st.PERMUTATIONS,
    seed: int = 0,
    cache: Path | None = None,
    progress: bool = True,
) -> AlignmentReport:
    """Measure how a model's emotion space agrees with human valence and arousal, within and across languages.

    The point of an emotion is the mean state, over reading frames, after the words that people associate with it. It is
    not fitted to ratings. Axes, maps and word ratings are fitted, and measured on categories or words that had no part
    in the fit. The layer is the one that predicts a development half of the rated words best, or, without word norms in
    the language, the one chosen most often on halves of the categories. The report states which rule applied.

    Args:
        steered: The model, its tokenizer and its emotion vectors.
        norms: Human ratings of words: files, or results of `load_norms`.
        languages: Codes of built-in concept sets; by default the languages of the vectors and of the norms.
        categories: Further ratings of the categories: name → emotion → (valence, arousal) from −1 to 1, or a CSV file
            for `load_category_norms`. Those of the concept sets (28, Glasgow Norms) are always measured.
        permutations: Number of permutations for every p of the geometry; statistics that refit use a fifth of them.
        seed: Seed of divisions, permutations and resamples.
        cache: Folder that keeps the states of words, so that a second run reads nothing again.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        The report.

    Raises:
        InputError: A norms file cannot be read or has too few words, or there is no language to measure.
        ConceptError: A language has no built-in concept set.
        MissingExtraError: scikit-learn, scipy or snowballstemmer is not installed.
    """
    require("eval", "scipy", "sklearn", "snowballstemmer")
    sources = [norms] if isinstance(norms, Norms | str | Path) else list(norms)
    loaded = [source if isinstance(source, Norms) else load_norms(source) for source in sources]
    chosen = tuple(dict.fromkeys(languages if languages is not None else _languages(steered, loaded)))
    if not chosen:
        raise InputError("There is no language to measure.", "Name one with languages=, such as ['en'].")
    sets = categories if isinstance(categories, Mapping) else load_category_norms(categories) if categories else {}
    _check(chosen, loaded, sets)  # now rather than after minutes of reading
    run = Run(steered, layer_grid(steered.model), permutations, checked_seed(seed), cache, progress)
    emotions = {language: Emotions(run, language) for language in chosen}
    words = [Words(run, each) for each in loaded]
    own = emotions[chosen[0]].own
    sets = {name: ratings for name, ratings in sets.items() if ratings != own}  # a file may repeat the built-in ones
    layers = {language: _layer(run, emotions[language], words) for language in chosen}
    geometry = [
        geometry_of(run, emotions[language], name, ratings, layers[language][0])
        for language in chosen
        for name, ratings in {OWN: emotions[language].own, **sets}.items()
    ]
    results = [each.measured() for each in words]
    transfers = [
        transfer_ratings(run, source, target)
        for source, target in ordered(words, 2)
        if source.language != target.language
    ]
    pairs = [language_pair(run, emotions[a], emotions[b], (layers[a][0], layers[b][0])) for a, b in ordered(chosen, 2)]
    return AlignmentReport(
        about={
            "model": _name(steered),
            "languages": list(chosen),
            "layers": {language: {"layer": layer, "rule": rule} for language, (layer, rule) in layers.items()},
            "layer_grid": list(run.layers),
            "frames": {
                language: {"words": frames_for(WORDS, language), "emotions": frames_for(MOODS, language)}
                for language in chosen
            },
            "concept_sets": {language: points.concepts.digest for language, points in emotions.items()},
            "permutations": permutations,
            "bootstrap_draws": DRAWS,
            "seed": seed,
            "versions": {
                name: version(name) for name in ("emosteer", "torch", "transformers", "scikit-learn", "scipy")
            },
        },
        geometry=tuple(geometry),
        ceilings=(*_ceilings(run, {OWN: own, **sets}), *_word_ceilings(run, loaded)),
        words=tuple(results),
        transfers=tuple(transfers),
        pairs=tuple(pairs),
        notes=tuple(_notes(run, emotions, geometry, results)),
    )


def _check(languages: Sequence[str], norms: Sequence[Norms], sets: Ratings) -> None:
    """Raise `InputError` for norms in another language or of too few words, and for ratings of too few emotions."""
    for each in norms:
        if each.language not in languages:
            raise InputError(
                f"The norms {each.name!r} are in {each.language!r}; the languages asked for are "
                f"{', '.join(languages)}.",
                "Add the language or leave the norms out.",
            )
        stems = len(set(stem_groups(each.words, each.language).tolist()))
        if stems < FEWEST_STEMS:
            raise InputError(
                f"The norms {each.name!r} have {stems} different words, at least {FEWEST_STEMS} are needed.",
                "A correlation of fewer says little.",
            )
    known = [set(ConceptSet.load(language).emotions) for language in languages]
    for name, ratings in sets.items():
        n_rated = min(len(emotions & set(ratings)) for emotions in known)
        if n_rated < FEWEST_CATEGORIES:
            raise InputError(
                f"The ratings {name!r} know {n_rated} of the emotions, at least {FEWEST_CATEGORIES} are needed.",
                f"They may be: {', '.join(sorted(known[0]))}.",
            )


def _layer(run: Run, emotions: Emotions, words: Sequence[Words]) -> tuple[int, str]:
    """Choose the layer for a language, and name the rule that chose it."""
    same_language = (each for each in words if each.language == emotions.language)
    scores = [score for each in same_language if (score := each.development_scores(emotions.words)) is not None]
    if scores:
        best = int(np.mean(scores, 0).argmax())
        rule = "best prediction of a development half of the rated words, without those that place the emotions"
    else:
        best = int(np.bincount(halves(emotions.at(emotions.own), run.seed)[1]).argmax())
        rule = "most often best on halves of the categories, on which it was then measured"
    return run.layers[best], rule


def _ceilings(run: Run, sets: Ratings) -> list[Ceiling]:
    """Compare the sets of category ratings with each other, two at a time."""
    ceilings = []
    for between in combinations(sets, 2):
        ours, theirs = (sets[name] for name in between)
        names = [name for name in ours if name in theirs]
        if len(names) < FEWEST_CATEGORIES:
            continue
        first, second = (np.asarray([ratings[name] for name in names], dtype=float) for ratings in (ours, theirs))
        measures = {"rsa": st.rsa(st.standardised(first), second, **run.effort)}
        measures |= st.axis_agreement(first, second, **run.effort)
        ceilings.append(Ceiling(between, measures, "categories"))
    return ceilings


def _word_ceilings(run: Run, norms: Sequence[Norms]) -> list[Ceiling]:
    """Compare norms of the same language with each other, two at a time."""
    ceilings = []
    for ours, theirs in combinations(norms, 2):
        if ours.language != theirs.language:
            continue
        ratings = [dict(zip(each.words, each.axes(), strict=True)) for each in (ours, theirs)]
        words = [word for word in ratings[0] if word in ratings[1]]
        if len(words) < FEWEST_STEMS:
            continue
        first, second = (np.stack([each[word] for word in words]) for each in ratings)
        measures = score_predictions(first, second, stem_groups(words, ours.language), seed=run.seed).r
        ceilings.append(Ceiling((ours.name, theirs.name), measures, "words"))
    return ceilings


def _notes(
    run: Run, emotions: Mapping[str, Emotions], geometry: Sequence[Geometry], words: Sequence[WordRatings]
) -> list[str]:
    """Write down what weakens the results."""
    notes = []
    tokenizer = run.steered.tokenizer
    for language, points in emotions.items():
        sentences = points.concepts.neutral[language].sentences
        characters = sum(len(text) for text in sentences)
        tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in sentences)
        if tokens > FOREIGN * characters:
            notes.append(
                f"The tokenizer cuts {language} into {tokens / characters:.1f} tokens a character: the model has "
                "hardly read the language, and its figures say more of that than of emotions."
            )
    for shape in geometry:
        p = shape.measures["rsa"].p
        if p is not None and p > 0.05:
            notes.append(
                f"{shape.language}, {shape.ratings}: the similarity to human distances is not above chance, "
                f"p = {p:.2f}."
            )
    for result in words:
        valence, norms = result.full.r["valence"], f"{result.norms} ({result.language})"
        if valence.n < FEW_WORDS:
            notes.append(f"{norms}: only {valence.n} words, so intervals are wide.")
        if plain(valence) <= plain(result.controls["spelling"].r["valence"]):
            notes.append(
                f"{norms}: full states predict valence no better than the letters of the word do; the model does not "
                "know these words."
            )
    return notes


def _name(steered: SteeredModel) -> str:
    """Return the name of the model; for a folder its last part, since the path is private."""
    name = str(steered.model.config.name_or_path or steered.model.config.model_type)
    return Path(name).name if Path(name).exists() else name


def _languages(steered: SteeredModel, norms: Sequence[Norms]) -> list[str]:
    """Return the default languages: those of the vectors, else English, and those of the norms."""
    made_from = [code for code in steered.vectors.extraction.get("languages", []) if code in built_in()]
    return [*(made_from or ["en"]), *(each.language for each in norms)]
