"""Rated words: predicted from how the model reads them, within a language and from one language to another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer.eval.alignment import statistics as st
from emosteer.eval.alignment.frames import WORDS, frames_for
from emosteer.eval.alignment.ratings import (
    AXES,
    Prediction,
    Ridge,
    advantage,
    agreement,
    folds,
    held_out,
    held_out_best,
    stem_groups,
)
from emosteer.eval.alignment.results import Transfer, WordRatings, plain, rounded
from emosteer.eval.alignment.states import Run, States, word_shapes
from emosteer.eval.alignment.statistics import Measure
from emosteer.eval.norms import Norms

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 50
"""Words from which a layer can be chosen."""

RANDOM_SETS = 10
SHARED = "en"
"""Both sides of a transfer are read in the frames of this language, of which models have read most."""

__all__ = ["Words", "transfer"]


class Words:
    """Rated words of one language, and the states of every frame and layer."""

    def __init__(self, run: Run, norms: Norms) -> None:
        self.run, self.norms, self.language = run, norms, norms.language
        self.ratings = norms.axes()
        self.groups = stem_groups(norms.words, norms.language)
        self.fold = folds(self.groups, seed=run.seed)
        self.frames = [run.states(norms.words, frame) for frame in frames_for(WORDS, norms.language)]

    def views(self, layer: int) -> list[States]:
        """The states of each frame at a layer of the grid."""
        return [states[:, layer] for states in self.frames]

    def development_scores(self, without: Collection[str]) -> list[float] | None:
        """Layer by layer, how well half of the words are predicted, each left out in turn.

        Args:
            without: Words that have no part in it: those that place the emotions, for which the layer is chosen.

        Returns:
            None where too few words are left.
        """
        half = (self.fold % 2 == 0) & ~np.isin(self.norms.words, list(without))  # whole stems but for those
        if half.sum() < FEWEST:
            return None
        return [
            float(np.mean([Ridge(view[half], self.ratings[half]).score for view in self.views(layer)]))
            for layer in range(len(self.run.layers))
        ]

    def measured(self) -> WordRatings:
        """Ratings predicted from states, from directions alone and from the controls."""
        run, ratings, fold = self.run, self.ratings, self.fold
        by_layer = [np.mean(held_out(self.views(i), ratings, fold), 0) for i in range(len(run.layers))]
        full = np.mean(by_layer, 0)
        directions = self._projections(self._directions())
        ours, chosen = held_out_best(directions, ratings, fold)
        generator = np.random.default_rng(run.seed)
        shape = self._directions()[0].shape
        drawn = [
            held_out_best(self._projections([generator.standard_normal(shape) for _ in run.layers]), ratings, fold)[0]
            for _ in range(RANDOM_SETS)
        ]
        shuffled = ratings[generator.permutation(len(ratings))]
        middle = len(run.layers) // 2
        simple: dict[str, NDArray[Any]] = {
            "input_embeddings": run.inputs(self.norms.words),
            "length_and_frequency": word_shapes(run.steered.tokenizer, self.norms.words),
            "spelling": _spelling(self.norms.words),
        }
        controls = {"random_directions": self._mean_of_draws(drawn)}
        controls |= {name: self._agreement(held_out([view], ratings, fold)[0]) for name, view in simple.items()}
        controls["shuffled"] = agreement(
            np.mean(held_out(self.views(middle), shuffled, fold), 0), shuffled, self.groups, seed=run.seed
        )
        return WordRatings(
            norms=self.norms.name,
            language=self.language,
            license=self.norms.license,
            full=self._agreement(full),
            directions=self._agreement(ours),
            directions_layers=tuple(run.layers[i] for i in chosen),
            controls=controls,
            advantage=advantage(ours, np.stack(drawn), ratings, self.groups, seed=run.seed),
            profile={
                layer: {axis: float(np.corrcoef(one[:, i], ratings[:, i])[0, 1]) for i, axis in enumerate(AXES)}
                for layer, one in zip(run.layers, by_layer, strict=True)
            },
            words=self.norms.words,
            rated=rounded(ratings),
            predicted=rounded(full),
        )

    def _agreement(self, predicted: NDArray[np.float64]) -> Prediction:
        return agreement(predicted, self.ratings, self.groups, seed=self.run.seed)

    def _mean_of_draws(self, drawn: list[NDArray[np.float64]]) -> Prediction:
        """The first draw's intervals and p around the mean r of all."""
        each = [self._agreement(one) for one in drawn]
        r, squares = {}, {}
        for axis in AXES:
            first, value = each[0].r[axis], float(np.mean([plain(one.r[axis]) for one in each]))
            moved = value - plain(first)
            low, high = (None if end is None else end + moved for end in (first.low, first.high))
            r[axis] = Measure(value, low, high, first.p, first.n)
            squares[axis] = float(np.mean([one.r_squared[axis] for one in each]))
        return Prediction(r, squares)

    def _directions(self) -> list[NDArray[np.float64]]:
        """The emotion directions `[n_emotions, d]` at each layer of the grid, or the nearest that the vectors have."""
        vectors = self.run.steered.vectors
        rows = [min(range(len(vectors.layers)), key=lambda i: abs(vectors.layers[i] - one)) for one in self.run.layers]
        every = np.stack([direction.numpy() for direction in vectors.directions.values()]).astype(np.float64)
        return [every[:, row] for row in rows]

    def _projections(self, directions: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """`[n_words, n_emotions]` at each layer: the mean state over frames, seen along the directions alone."""
        means = (np.mean(self.views(i), 0) for i in range(len(self.run.layers)))
        return [(mean - mean.mean(0)) @ of.T for mean, of in zip(means, directions, strict=True)]


def transfer(run: Run, source: Words, target: Words) -> Transfer:
    """Fit on one language, read the other: both in the frames of `SHARED`, and at the word in frames of their own.

    Each side is standardised by itself, which needs no ratings; nothing is fitted to the target.
    """
    pairs = [(source.frames[0], target.frames[0])]
    for frame in frames_for(WORDS, SHARED)[1:]:
        pairs.append((run.states(source.norms.words, frame), run.states(target.norms.words, frame)))
    human = source.ratings
    slope = np.polyfit(human[:, 0], human[:, 1], 1)
    wanted = np.column_stack([human, human[:, 1] - np.polyval(slope, human[:, 0])])
    views = [
        (st.standardised(ours[:, i].astype(np.float64)), st.standardised(theirs[:, i].astype(np.float64)))
        for ours, theirs in pairs
        for i in range(len(run.layers))
    ]
    read = np.mean([Ridge(ours, wanted).predict(theirs) for ours, theirs in views], 0)
    simple = [st.standardised(run.inputs(one.norms.words)) for one in (source, target)]
    there = target.ratings

    def partial(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
        return st.partial_correlation(read[rows, 1], there[partners, 1], there[partners, 0])

    def beyond(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
        return st.pearson(read[rows, 2], there[partners, 1])

    return Transfer(
        source=source.norms.name,
        target=target.norms.name,
        languages=(source.language, target.language),
        prediction=agreement(read[:, :2], there, target.groups, seed=run.seed),
        arousal_given_valence=st.measure(partial, len(there), **run.less_effort),
        arousal_beyond_valence=st.measure(beyond, len(there), **run.less_effort),
        coupling=(float(np.corrcoef(human.T)[0, 1]), float(np.corrcoef(there.T)[0, 1])),
        control=agreement(Ridge(simple[0], human).predict(simple[1]), there, target.groups, seed=run.seed),
    )


def _spelling(words: Sequence[str]) -> NDArray[np.float64]:
    """A bag of letter 1- to 3-grams, hashed into 512 columns: what can be known of a word without knowing it."""
    from sklearn.feature_extraction.text import HashingVectorizer

    bag = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 3), n_features=512, alternate_sign=True)
    found: NDArray[np.float64] = bag.transform(words).toarray()
    return found
