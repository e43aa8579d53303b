"""Prediction of word ratings against scikit-learn and explicit loops; stems, folds, and what agreement says."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emosteer.errors import MissingExtraError
from emosteer.eval.alignment import ratings as ra

SHAPES = [(90, 20), (40, 70)]
"""More words than features, and fewer."""


def rated_words(n: int, d: int, *, noise: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(n, d)) * generator.uniform(0.1, 5, size=d) + generator.normal(size=d)
    rated = features @ generator.normal(size=(d, 2)) / 5 + generator.normal(size=(n, 2)) * [noise, 5 * noise] + [5, 4]
    return features, rated


def reference():
    return make_pipeline(StandardScaler(), RidgeCV(ra.PENALTIES, alpha_per_target=True))


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_ridge_is_scikit_learns(n, d):
    features, rated = rated_words(n, d)
    features[:, 3] = 7  # says nothing
    found, theirs = ra.RatingRegression(features, rated), reference().fit(features, rated)
    np.testing.assert_allclose(found.penalties, theirs[-1].alpha_)
    assert found.penalties[0] != found.penalties[1]  # each axis has its own
    np.testing.assert_allclose(found.weights, theirs[-1].coef_.T, atol=1e-6)
    new = rated_words(9, d, seed=1)[0]
    np.testing.assert_allclose(found.predict(new), theirs.predict(new), atol=1e-6)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_score_is_r_squared_of_words_that_were_left_out_one_by_one(n, d):
    features, rated = rated_words(n, d)
    found = ra.RatingRegression(features, rated)
    scaled = StandardScaler().fit_transform(features)
    expected = []
    for axis in (0, 1):
        errors = []
        for penalty in ra.PENALTIES:
            left_out = [
                Ridge(penalty).fit(np.delete(scaled, i, 0), np.delete(rated[:, axis], i)).predict(scaled[i : i + 1])[0]
                for i in range(n)
            ]
            errors.append(((rated[:, axis] - left_out) ** 2).sum())
        assert ra.PENALTIES[np.argmin(errors)] == found.penalties[axis]
        expected.append(1 - min(errors) / ((rated[:, axis] - rated[:, axis].mean()) ** 2).sum())
    assert found.score == pytest.approx(np.mean(expected))


def test_features_in_single_precision_are_computed_in_double():
    features, rated = rated_words(90, 20)
    single = (features + 1_000).astype(np.float32)
    found = ra.RatingRegression(single, rated).predict(single)
    np.testing.assert_allclose(found, ra.RatingRegression(single.astype(float), rated).predict(single), atol=1e-3)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_held_out_words_are_predicted_as_scikit_learn_does(n, d):
    features, rated = rated_words(n, d)
    fold = np.random.default_rng(2).integers(0, 4, n)
    others = features[:, ::-1][:, : d // 2]
    found = ra.cross_predict([features, others], rated, fold)
    for view, predicted in zip((features, others), found, strict=True):
        expected = cross_val_predict(reference(), view, rated, cv=PredefinedSplit(fold))
        np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_the_best_view_is_chosen_and_fitted_without_the_held_out_fold():
    features, rated = rated_words(90, 20, noise=0.5)
    noise = np.random.default_rng(1).normal(size=(2, 90, 20))
    views = [noise[0], features, noise[1]]
    fold = np.arange(90) % 3
    predicted, chosen = ra.cross_predict_best(views, rated, fold)
    assert chosen == [1, 1, 1]
    np.testing.assert_allclose(predicted, ra.cross_predict([features], rated, fold)[0])
    for k in range(3):
        changed = rated.copy()
        changed[fold == k] = noise[0][fold == k, :2] * 1_000  # which the first view alone could predict
        found, now = ra.cross_predict_best(views, changed, fold)
        assert now[k] == 1
        np.testing.assert_allclose(found[fold == k], predicted[fold == k])
        assert {now[other] for other in range(3) if other != k} == {0}  # the others learn of it


# Stems and folds


@pytest.mark.parametrize(
    ("language", "together", "apart"),
    [
        ("en", ["abandon", "Abandoned", "abandons"], "band"),
        ("en-GB", ["bank (river)", "bank (money)", "banks"], "bankrupt"),
        ("es", ["alegre", "alegres"], "triste"),
        ("de", ["Freude", "freuden"], "Freund"),
        ("fr", ["heureux", "heureuse"], "malheur"),
        ("zh", ["快乐", "快乐"], "快"),
        ("fi", ["ilo", "Ilo"], "iloinen"),
    ],
)
def test_words_of_one_stem_are_one_group(language, together, apart):
    found = ra.stem_groups([*together, apart, "x"], language)
    assert set(found) == {0, 1, 2}
    assert len(set(found[:-2])) == 1
    assert len(set(found[-3:])) == 3


def test_words_are_not_put_together_by_the_stems_of_another_language():
    assert len(set(ra.stem_groups(["pans", "pan"], "zh"))) == 2
    assert len(set(ra.stem_groups(["pans", "pan"], "en"))) == 1


def test_without_the_stemmer_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "snowballstemmer", None)
    with pytest.raises(MissingExtraError, match="snowballstemmer") as caught:
        ra.stem_groups(["a"], "en")
    assert "emosteer[eval]" in str(caught.value.hint)


def test_folds_keep_groups_whole_and_are_about_equal():
    groups = np.random.default_rng(0).integers(0, 600, 1_000)
    groups = np.unique(groups, return_inverse=True)[1]
    fold = ra.folds(groups, seed=3)
    assert all(len(set(fold[groups == one])) == 1 for one in range(groups.max() + 1))
    assert set(fold) == set(range(5))
    assert np.abs(np.bincount(fold) - 200).max() < 40
    kinds = [len(set(groups[fold == k])) for k in range(5)]
    assert max(kinds) - min(kinds) <= 1
    assert (ra.folds(groups, seed=3) == fold).all()
    assert (ra.folds(groups, seed=4) != fold).any()


# Agreement and advantage


def bivariate(n: int, rho: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and ratings of both axes, correlated by rho."""
    rated = generator.normal(size=(n, 2))
    return rho * rated + np.sqrt(1 - rho**2) * generator.normal(size=(n, 2)), rated


def test_agreement_is_numpys_r_and_scikit_learns_r_squared():
    generator = np.random.default_rng(0)
    predicted, rated = bivariate(200, 0.7, generator)
    predicted, rated = predicted + 5, rated * [1, 2] + 5
    found = ra.score_predictions(predicted, rated, np.arange(200))
    for i, axis in enumerate(("valence", "arousal")):
        one = found.r[axis]
        assert one.value == pytest.approx(np.corrcoef(predicted[:, i], rated[:, i])[0, 1])
        assert found.r_squared[axis] == pytest.approx(r2_score(rated[:, i], predicted[:, i]))
        assert one.low < one.value < one.high
        assert (one.p, one.n) == (1 / 1_001, 200)
    assert ra.score_predictions(predicted, rated, np.arange(200)) == found


def test_the_interval_draws_stems_with_all_of_their_words():
    generator = np.random.default_rng(0)
    predicted, rated = bivariate(40, 0.5, generator)
    groups = np.repeat(np.arange(40), 5)
    one = ra.score_predictions(predicted[groups], rated[groups], groups).r["valence"]  # each stem five times the same
    drawn = []
    for _ in range(2_000):
        rows = generator.integers(0, 40, 40)
        drawn.append(np.corrcoef(predicted[rows, 0], rated[rows, 0])[0, 1])
    assert (one.low, one.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.04)
    alone = ra.score_predictions(predicted[groups], rated[groups], np.arange(200)).r["valence"]
    assert alone.high - alone.low < 0.6 * (one.high - one.low)


def test_predictions_or_ratings_that_are_all_the_same_have_no_r():
    predicted, rated = bivariate(50, 0.7, np.random.default_rng(0))
    predicted[:, 0], rated[:, 1] = 4.2, 5
    found = ra.score_predictions(predicted, rated, np.arange(50))
    for axis in ra.AXES:
        assert (found.r[axis].value, found.r[axis].p, found.r[axis].n, found.r_squared[axis]) == (None, None, 50, 0)


def test_shuffled_ratings_are_predicted_at_chance():
    features, rated = rated_words(300, 20, noise=0.5)
    groups = np.arange(300)
    fold = ra.folds(groups)
    assert ra.score_predictions(ra.cross_predict([features], rated, fold)[0], rated, groups).r["valence"].value > 0.8
    found = []
    for seed in range(10):
        shuffled = np.random.default_rng(seed).permutation(rated)
        found.append(ra.score_predictions(ra.cross_predict([features], shuffled, fold)[0], shuffled, groups, draws=9))
    for axis in ra.AXES:
        assert abs(np.mean([one.r[axis].value for one in found])) < 0.15
        assert sum(one.r[axis].p <= 0.1 for one in found) <= 4
        assert max(one.r_squared[axis] for one in found) < 0.1


def test_the_p_of_agreement_is_uniform_where_there_is_nothing(monkeypatch):
    monkeypatch.setattr(ra, "PERMUTATIONS", 39)
    generator = np.random.default_rng(0)
    found = [
        ra.score_predictions(*bivariate(20, 0, generator), np.arange(20), draws=9, seed=i).r[axis].p
        for i in range(200)
        for axis in ra.AXES
    ]
    for level in (0.05, 0.1, 0.25, 0.5):
        low, high = binom.ppf([0.001, 0.999], len(found), level)
        assert low <= sum(p <= level + 1e-9 for p in found) <= high, level


@pytest.mark.parametrize("rho", [0, 0.5, 0.9])
def test_intervals_of_agreement_hold_the_true_correlation(rho, monkeypatch):
    monkeypatch.setattr(ra, "PERMUTATIONS", 0)
    generator = np.random.default_rng(0)
    found = [
        ra.score_predictions(*bivariate(50, rho, generator), np.arange(50), draws=200, seed=i).r[axis]
        for i in range(150)
        for axis in ra.AXES
    ]
    assert 0.88 <= np.mean([one.low <= rho <= one.high for one in found]) <= 0.99


def two_predictions(n, generator):
    """Ratings and two predictions of them, r .8 and .5, that share what they get wrong."""
    rated, wrong = generator.normal(size=(2, n, 2))
    return 0.8 * rated + 0.6 * wrong, 0.5 * rated + np.sqrt(0.75) * wrong, rated


def test_the_advantage_is_the_difference_of_r():
    better, worse, rated = two_predictions(200, np.random.default_rng(0))
    groups = np.arange(200)
    found = ra.advantage(better, worse, rated, groups)
    same = ra.advantage(better, better, rated, groups)
    for i, axis in enumerate(ra.AXES):
        r = [np.corrcoef(one[:, i], rated[:, i])[0, 1] for one in (better, worse)]
        assert found[axis].value == pytest.approx(r[0] - r[1])
        assert found[axis].low > 0
        assert (same[axis].value, same[axis].low, same[axis].high) == (0, 0, 0)
        backwards = ra.advantage(worse, better, rated, groups)[axis]
        assert (backwards.low, backwards.high) == pytest.approx((-found[axis].high, -found[axis].low))
        alone = [ra.score_predictions(one, rated, groups).r[axis] for one in (better, worse)]
        unpaired = np.hypot(*[one.high - one.low for one in alone])
        assert found[axis].high - found[axis].low < 0.8 * unpaired
    assert ra.advantage(better, worse, rated, groups) == found


def test_the_advantage_over_many_controls_is_over_their_mean():
    better, worse, rated = two_predictions(200, np.random.default_rng(0))
    controls = np.stack([worse, np.random.default_rng(1).normal(size=(200, 2))])
    found = ra.advantage(better, controls, rated, np.arange(200))
    for i, axis in enumerate(ra.AXES):
        r = [np.corrcoef(one[:, i], rated[:, i])[0, 1] for one in (better, *controls)]
        assert found[axis].value == pytest.approx(r[0] - np.mean(r[1:]))


def test_intervals_of_the_advantage_hold_the_true_difference():
    generator = np.random.default_rng(0)
    found = []
    for seed in range(150):
        better, worse, rated = two_predictions(60, generator)
        found += ra.advantage(better, worse, rated, np.arange(60), draws=200, seed=seed).values()
    assert 0.88 <= np.mean([one.low <= 0.3 <= one.high for one in found]) <= 0.99
