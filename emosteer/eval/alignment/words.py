"""Rated words: predicted from the model's states, within a language and from one language to another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer._util.stats import partial_correlation, pearson
from emosteer.eval.alignment import statistics as st
from emosteer.eval.alignment.frames import WORDS, frames_for
from emosteer.eval.alignment.ratings import (
    AXES,
    Prediction,
    RatingRegression,
    advantage,
    cross_predict,
    cross_predict_best,
    folds,
    score_predictions,
    stem_groups,
)
from emosteer.eval.alignment.results import Transfer, WordRatings, plain, rounded
from emosteer.eval.alignment.states import Run, States, word_shapes
from emosteer.eval.alignment.statistics import Measure
from emosteer.eval.norms import Norms

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 50
"""Number of words below which no layer is chosen."""

RANDOM_SETS = 10
SHARED = "en"
"""Language of the frames in which both sides of a transfer are read; models have read most of it."""

__all__ = ["Words", "transfer_ratings"]


class Words:
    """Rated words of one language, and their states in every frame and layer."""

    def __init__(self, run: Run, norms: Norms) -> None:
        self.run, self.norms, self.language = run, norms, norms.language
        self.ratings = norms.axes()
        self.groups = stem_groups(norms.words, norms.language)
        self.fold = folds(self.groups, seed=run.seed)
        self.frames = [run.states(norms.words, frame) for frame in frames_for(WORDS, norms.language)]

    def views(self, layer: int) -> list[States]:
        """Return the states of each frame at a layer of the grid."""
        return [states[:, layer] for states in self.frames]

    def development_scores(self, without: Collection[str]) -> list[float] | None:
        """Score each layer by the leave-one-out prediction of half of the words.

        Args:
            without: Words to exclude: those that place the emotions, for which the layer is chosen.

        Returns:
            None where too few words are left.
        """
        half = (self.fold % 2 == 0) & ~np.isin(self.norms.words, list(without))  # whole stems but for those
        if half.sum() < FEWEST:
            return None
        return [
            float(np.mean([RatingRegression(view[half], self.ratings[half]).score for view in self.views(layer)]))
            for layer in range(len(self.run.layers))
        ]

    def measured(self) -> WordRatings:
        """Predict the ratings from states, from directions alone and from the controls."""
        run, ratings, fold = self.run, self.ratings, self.fold
        by_layer = [np.mean(cross_predict(self.views(i), ratings, fold), 0) for i in range(len(run.layers))]
        full = np.mean(by_layer, 0)
        directions = self._directions()
        ours, chosen = cross_predict_best(self._projections(directions), ratings, fold)
        generator = np.random.default_rng(run.seed)
        random = [
            cross_predict_best(
                self._projections([generator.standard_normal(directions[0].shape) for _ in run.layers]), ratings, fold
            )[0]
            for _ in range(RANDOM_SETS)
        ]
        shuffled = ratings[generator.permutation(len(ratings))]
        middle = len(run.layers) // 2
        simple: dict[str, NDArray[Any]] = {
            "input_embeddings": run.inputs(self.norms.words),
            "length_and_frequency": word_shapes(run.steered.tokenizer, self.norms.words),
            "spelling": _spelling(self.norms.words),
        }
        controls = {"random_directions": self._mean_of_draws(random)}
        controls |= {name: self._scored(cross_predict([view], ratings, fold)[0]) for name, view in simple.items()}
        controls["shuffled"] = score_predictions(
            np.mean(cross_predict(self.views(middle), shuffled, fold), 0), shuffled, self.groups, seed=run.seed
        )
        return WordRatings(
            norms=self.norms.name,
            language=self.language,
            license=self.norms.license,
            full=self._scored(full),
            directions=self._scored(ours),
            directions_layers=tuple(run.layers[i] for i in chosen),
            controls=controls,
            advantage=advantage(ours, np.stack(random), ratings, self.groups, seed=run.seed),
            profile={
                layer: {axis: float(np.corrcoef(predicted[:, i], ratings[:, i])[0, 1]) for i, axis in enumerate(AXES)}
                for layer, predicted in zip(run.layers, by_layer, strict=True)
            },
            words=self.norms.words,
            rated=rounded(ratings),
            predicted=rounded(full),
        )

    def _scored(self, predicted: NDArray[np.float64]) -> Prediction:
        return score_predictions(predicted, self.ratings, self.groups, seed=self.run.seed)

    def _mean_of_draws(self, draws: list[NDArray[np.float64]]) -> Prediction:
        """Return the mean r of all draws, with the interval and p of the first."""
        scored = [self._scored(predicted) for predicted in draws]
        r, squares = {}, {}
        for axis in AXES:
            first, value = scored[0].r[axis], float(np.mean([plain(draw.r[axis]) for draw in scored]))
            shift = value - plain(first)
            low, high = (None if end is None else end + shift for end in (first.low, first.high))
            r[axis] = Measure(value, low, high, first.p, first.n)
            squares[axis] = float(np.mean([draw.r_squared[axis] for draw in scored]))
        return Prediction(r, squares)

    def _directions(self) -> list[NDArray[np.float64]]:
        """Return the emotion directions `[n_emotions, d]` at each layer of the grid, or the nearest there is."""
        vectors = self.run.steered.vectors
        rows = [min(range(len(vectors.layers)), key=lambda i: abs(vectors.layers[i] - own)) for own in self.run.layers]
        stacked = np.stack([direction.numpy() for direction in vectors.directions.values()]).astype(np.float64)
        return [stacked[:, row] for row in rows]

    def _projections(self, directions: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
        """Project the mean state over frames onto the directions of each layer, `[n_words, n_emotions]`."""
        means = (np.mean(self.views(i), 0) for i in range(len(self.run.layers)))
        return [(mean - mean.mean(0)) @ rows.T for mean, rows in zip(means, directions, strict=True)]


def transfer_ratings(run: Run, source: Words, target: Words) -> Transfer:
    """Fit regressions on one language and predict the ratings of another.

    Both are read in the frames of `SHARED`, and at the word in frames of their own. Each side is standardised by
    itself, which needs no ratings; nothing is fitted to the target.
    """
    pairs = [(source.frames[0], target.frames[0])]
    for frame in frames_for(WORDS, SHARED)[1:]:
        pairs.append((run.states(source.norms.words, frame), run.states(target.norms.words, frame)))
    human, rated = source.ratings, target.ratings
    slope = np.polyfit(human[:, 0], human[:, 1], 1)
    goals = np.column_stack([human, human[:, 1] - np.polyval(slope, human[:, 0])])
    views = [
        (st.standardised(ours[:, i].astype(np.float64)), st.standardised(theirs[:, i].astype(np.float64)))
        for ours, theirs in pairs
        for i in range(len(run.layers))
    ]
    predicted = np.mean([RatingRegression(ours, goals).predict(theirs) for ours, theirs in views], 0)
    simple = [st.standardised(run.inputs(side.norms.words)) for side in (source, target)]

    def partial(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
        return partial_correlation(predicted[rows, 1], rated[partners, 1], rated[partners, 0])

    def beyond(rows: NDArray[np.intp], partners: NDArray[np.intp]) -> float:
        return pearson(predicted[rows, 2], rated[partners, 1])

    return Transfer(
        source=source.norms.name,
        target=target.norms.name,
        languages=(source.language, target.language),
        prediction=score_predictions(predicted[:, :2], rated, target.groups, seed=run.seed),
        arousal_given_valence=st.measure(partial, len(rated), **run.less_effort),
        arousal_beyond_valence=st.measure(beyond, len(rated), **run.less_effort),
        coupling=(float(np.corrcoef(human.T)[0, 1]), float(np.corrcoef(rated.T)[0, 1])),
        control=score_predictions(
            RatingRegression(simple[0], human).predict(simple[1]), rated, target.groups, seed=run.seed
        ),
    )


def _spelling(words: Sequence[str]) -> NDArray[np.float64]:
    """Hash letter 1- to 3-grams into 512 columns: what a spelling tells without knowledge of the word."""
    from sklearn.feature_extraction.text import HashingVectorizer

    bag = HashingVectorizer(analyzer="char_wb", ngram_range=(1, 3), n_features=512, alternate_sign=True)
    counts: NDArray[np.float64] = bag.transform(words).toarray()
    return counts
