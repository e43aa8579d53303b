"""Does a model's emotion space have the structure of the human one, in several languages?

The battery: representational similarity, components against valence and arousal, held-out axes, Procrustes maps,
prediction of word ratings, transfer between languages, and what languages share; every figure beside its controls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import combinations
from itertools import permutations as ordered
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emosteer.concepts import ConceptSet
from emosteer.concepts.conceptset import built_in
from emosteer.errors import InputError, require
from emosteer.eval.alignment import statistics as st
from emosteer.eval.alignment.emotions import Emotions, geometry_of, halves, language_pair
from emosteer.eval.alignment.frames import MOODS, WORDS, frames_for
from emosteer.eval.alignment.ratings import agreement, stem_groups
from emosteer.eval.alignment.results import AlignmentReport, Ceiling, Geometry, WordRatings, plain
from emosteer.eval.alignment.states import Run, layer_grid
from emosteer.eval.alignment.words import Words, transfer
from emosteer.eval.norms import Norms, load_category_norms, load_norms

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

FEWEST_CATEGORIES = 8
"""That a set of ratings must know."""

FEWEST_STEMS = 50
"""That norms must have."""

FEW_WORDS = 300
"""Below which a note says that the figures are of few words."""

FOREIGN = 0.9
"""Tokens a character from which a tokenizer falls back to bytes: it has seen little of the language. Known languages
take .2 to .4 in an alphabet, and up to .85 in Chinese."""

OWN = "Glasgow Norms"
"""Whose ratings of the categories the built-in concept sets carry."""

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

    An emotion's point is the mean state, over reading frames, after the words that people associate with it. Nothing of
    it is fitted to ratings; what is fitted (axes, maps, word ratings) is measured on categories or words that had no
    part in the fit. The layer is the one at which a development half of the rated words is predicted best, or, without
    word norms in the language, the one chosen most often on halves of the categories; either stands in the report.

    Args:
        steered: The model, its tokenizer and its emotion vectors.
        norms: Human ratings of words: files, or what `load_norms` returned.
        languages: Codes of built-in concept sets; by default those the vectors were made from, and those of the norms.
        categories: Further ratings of the categories: name → emotion → (valence, arousal) from −1 to 1, or a CSV file
            for `load_category_norms`. Those of the concept sets (28, Glasgow Norms) are always measured.
        permutations: For every p of the geometry; those that fit anew make a fifth of them.
        seed: Of divisions, permutations and resamples.
        cache: Folder in which states of words are kept, so that a second run reads nothing again.
        progress: Show progress bars if standard error is a terminal.

    Returns:
        The report.

    Raises:
        InputError: A norms file cannot be read, has too few words, or no language is left to measure.
        ConceptError: There is no concept set in a language that was asked for.
        MissingExtraError: scikit-learn, scipy or snowballstemmer is not installed.
    """
    require("eval", "scipy", "sklearn", "snowballstemmer")
    given = [norms] if isinstance(norms, Norms | str | Path) else list(norms)
    rated = [one if isinstance(one, Norms) else load_norms(one) for one in given]
    chosen = tuple(dict.fromkeys(languages if languages is not None else _languages(steered, rated)))
    if not chosen:
        raise InputError("There is no language to measure.", "Name one with languages=, such as ['en'].")
    sets = categories if isinstance(categories, Mapping) else load_category_norms(categories) if categories else {}
    _check(chosen, rated, sets)  # known now rather than after minutes of reading
    run = Run(steered, layer_grid(steered.model), permutations, seed, cache, progress)
    emotions = {language: Emotions(run, language) for language in chosen}
    words = [Words(run, one) for one in rated]
    own = emotions[chosen[0]].own
    sets = {name: ratings for name, ratings in sets.items() if ratings != own}  # a file may hold them once more
    layers = {language: _layer(run, emotions[language], words) for language in chosen}
    geometry = [
        geometry_of(run, emotions[language], name, ratings, layers[language][0])
        for language in chosen
        for name, ratings in {OWN: emotions[language].own, **sets}.items()
    ]
    results = [one.measured() for one in words]
    transfers = [
        transfer(run, source, target) for source, target in ordered(words, 2) if source.language != target.language
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
            "concept_sets": {language: one.concepts.digest for language, one in emotions.items()},
            "permutations": permutations,
            "bootstrap_draws": st.DRAWS,
            "seed": seed,
            "versions": {
                name: version(name) for name in ("emosteer", "torch", "transformers", "scikit-learn", "scipy")
            },
        },
        geometry=tuple(geometry),
        ceilings=(*_ceilings(run, {OWN: own, **sets}), *_word_ceilings(run, rated)),
        words=tuple(results),
        transfers=tuple(transfers),
        pairs=tuple(pairs),
        notes=tuple(_notes(run, emotions, geometry, results)),
    )


def _check(languages: Sequence[str], norms: Sequence[Norms], sets: Ratings) -> None:
    """Raise `InputError` for norms in another language or of too few words, and for ratings of too few emotions."""
    known = [set(ConceptSet.load(language).emotions) for language in languages]
    for one in norms:
        if one.language not in languages:
            raise InputError(
                f"The norms {one.name!r} are in {one.language!r}; the languages asked for are {', '.join(languages)}.",
                "Add the language or leave the norms out.",
            )
        stems = len(set(stem_groups(one.words, one.language).tolist()))
        if stems < FEWEST_STEMS:
            raise InputError(
                f"The norms {one.name!r} have {stems} different words, at least {FEWEST_STEMS} are needed.",
                "A correlation of fewer says little.",
            )
    for name, ratings in sets.items():
        found = min(len(names & set(ratings)) for names in known)
        if found < FEWEST_CATEGORIES:
            raise InputError(
                f"The ratings {name!r} know {found} of the emotions, at least {FEWEST_CATEGORIES} are needed.",
                f"They may be: {', '.join(sorted(known[0]))}.",
            )


def _layer(run: Run, emotions: Emotions, words: Sequence[Words]) -> tuple[int, str]:
    """The layer for a language, and the rule that chose it."""
    scores = [one.development_scores(emotions.words) for one in words if one.language == emotions.language]
    own = [found for found in scores if found is not None]
    if own:
        best = int(np.mean(own, 0).argmax())
        rule = "best prediction of a development half of the rated words, without those that place the emotions"
        return run.layers[best], rule
    best = int(np.bincount(halves(emotions.at(emotions.own), run.seed)[1]).argmax())
    return run.layers[best], "most often best on halves of the categories, on which it was then measured"


def _ceilings(run: Run, sets: Ratings) -> list[Ceiling]:
    found = []
    for (one, ours), (other, theirs) in combinations(sets.items(), 2):
        names = [name for name in ours if name in theirs]
        if len(names) < FEWEST_CATEGORIES:
            continue
        first, second = (np.asarray([ratings[name] for name in names], dtype=float) for ratings in (ours, theirs))
        measures = {"rsa": st.rsa(st.standardised(first), second, **run.effort)}
        found.append(
            Ceiling((one, other), {**measures, **st.axis_agreement(first, second, **run.effort)}, "categories")
        )
    return found


def _word_ceilings(run: Run, norms: Sequence[Norms]) -> list[Ceiling]:
    found = []
    for one, other in combinations(norms, 2):
        if one.language != other.language:
            continue
        ours, theirs = (dict(zip(each.words, each.axes(), strict=True)) for each in (one, other))
        words = [word for word in ours if word in theirs]
        if len(words) < FEWEST_STEMS:
            continue
        first, second = (np.stack([each[word] for word in words]) for each in (ours, theirs))
        groups = stem_groups(words, one.language)
        measures = agreement(first, second, groups, seed=run.seed).r
        found.append(Ceiling((one.name, other.name), measures, "words"))
    return found


def _notes(
    run: Run, emotions: Mapping[str, Emotions], geometry: Sequence[Geometry], words: Sequence[WordRatings]
) -> list[str]:
    notes = []
    tokenizer = run.steered.tokenizer
    for language, one in emotions.items():
        sentences = one.concepts.neutral[language].sentences
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
    for found in words:
        n = found.full.r["valence"].n
        if n < FEW_WORDS:
            notes.append(f"{found.norms} ({found.language}): only {n} words, so intervals are wide.")
        if plain(found.full.r["valence"]) <= plain(found.controls["spelling"].r["valence"]):
            notes.append(
                f"{found.norms} ({found.language}): full states predict valence no better than the letters of the word "
                "do; the model does not know these words."
            )
    return notes


def _name(steered: SteeredModel) -> str:
    """Of the model; of one in a folder, the folder's name alone, since where it lies is nobody's business."""
    name = str(steered.model.config.name_or_path or steered.model.config.model_type)
    return Path(name).name if Path(name).exists() else name


def _languages(steered: SteeredModel, norms: Sequence[Norms]) -> list[str]:
    made_from = [one for one in steered.vectors.extraction.get("languages", []) if one in built_in()]
    return [*(made_from or ["en"]), *(one.language for one in norms)]
