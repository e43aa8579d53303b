"""Statistics of alignment against scipy, scikit-learn and closed forms; p under the null; coverage of intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.distance import pdist, squareform
from scipy.stats import binom, kstest, spearmanr
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, RidgeCV

from emosteer._util.stats import partial_correlation
from emosteer.concepts import ConceptSet
from emosteer.eval.alignment import statistics as st

LEVELS = (0.05, 0.1, 0.25, 0.5)


def random_rotation(d: int, generator: np.random.Generator) -> np.ndarray:
    return np.linalg.qr(generator.normal(size=(d, d)))[0]


def related(n: int, d: int, *, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A model's space of d dimensions, two of which hold valence and arousal, and the human plane."""
    generator = np.random.default_rng(seed)
    human = generator.normal(size=(n, 2))
    return human @ generator.normal(size=(2, d)) + noise * generator.normal(size=(n, d)), human


def assert_uniform(found: list[float]) -> None:
    """As many p at or below each level as chance gives, by the binomial (1 in 1,000 at each end)."""
    for level in LEVELS:
        low, high = binom.ppf([0.001, 0.999], len(found), level)
        assert low <= sum(p <= level + 1e-9 for p in found) <= high, (level, np.mean(np.asarray(found) <= level))


def component_correlations(scores, human, **effort) -> dict[str, list[st.Measure]]:
    """Each component with valence, arousal, and arousal given valence."""
    of = [st.axis_agreement(scores[:, [k, k]], human, unsigned=True, **effort) for k in range(scores.shape[1])]
    return {kind: [each[kind] for each in of] for kind in st.KINDS}


def coverage(found: list[st.Measure], true: float) -> float:
    return float(np.mean([one.low <= true <= one.high for one in found]))


# Representational similarity


def test_distances_are_euclidean():
    points = np.random.default_rng(0).normal(size=(9, 4)) + 100
    np.testing.assert_allclose(st.distances(points), squareform(pdist(points)), atol=1e-5)


def test_standardised_columns_have_mean_0_and_spread_1_or_0():
    points = np.random.default_rng(0).normal(3, 2, size=(9, 3))
    points[:, 2] = 5
    found = st.standardised(points)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(0), [1, 1, 0])


def test_rsa_is_spearmans_correlation_of_the_distances():
    model, human = related(20, 6, noise=1)
    human = np.round(human * [3, 1])  # ties, and axes of unequal spread
    theirs = np.round(pdist((human - human.mean(0)) / human.std(0)), 8)  # or rounding errors break the ties
    assert len(set(theirs)) < len(theirs) - 10
    assert st.rsa(model, human, permutations=0, draws=0).value == pytest.approx(
        spearmanr(pdist(model), theirs).statistic
    )


def test_rsa_of_a_copy_is_1_whatever_its_rotation_scale_and_place():
    model, human = related(20, 6, noise=1)
    generator = np.random.default_rng(1)
    wide = np.pad(st.standardised(human), ((0, 0), (0, 4)))
    copy = 7 * wide @ random_rotation(6, generator) + generator.normal(size=6)
    assert st.rsa(copy, human * [2, 0.1] + 3, permutations=0, draws=0).value == pytest.approx(1)
    plain = st.rsa(model, human, permutations=0, draws=0).value
    turned = st.rsa(3 * model @ random_rotation(6, generator) - 2, human, permutations=0, draws=0).value
    assert turned == pytest.approx(plain)


def test_rsa_of_noise_is_about_0():
    generator = np.random.default_rng(0)
    found = [
        st.rsa(generator.normal(size=(28, 8)), generator.normal(size=(28, 2)), permutations=0, draws=0).value
        for _ in range(50)
    ]
    assert abs(np.mean(found)) < 0.03


def test_rsa_of_points_that_are_all_the_same_cannot_be_computed():
    found = st.rsa(np.ones((9, 3)), np.random.default_rng(0).normal(size=(9, 2)))
    assert (found.value, found.p, found.n, str(found)) == (None, None, 9, "–")


def spearman_of_rows(model, human, rows, *, keep_self_pairs):
    ours, theirs = squareform(pdist(model)), squareform(pdist((human - human.mean(0)) / human.std(0)))
    pairs = [(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :] if keep_self_pairs or a != b]
    return spearmanr([ours[pair] for pair in pairs], [theirs[pair] for pair in pairs]).statistic


def test_pairs_of_a_category_with_itself_are_dropped(monkeypatch):
    model, human = related(8, 3, noise=3)
    rows = np.array([0, 0, 1, 2, 2, 2, 5, 7])
    asked = []
    monkeypatch.setattr(st, "measure", lambda statistic, n, **_: asked.append(statistic))
    st.rsa(model, human)
    found = asked[0](rows, rows)
    assert found == pytest.approx(spearman_of_rows(model, human, rows, keep_self_pairs=False))
    assert spearman_of_rows(model, human, rows, keep_self_pairs=True) > found + 0.1  # what keeping them would add


def test_the_interval_of_rsa_is_that_of_resamples_without_self_pairs():
    model, human = related(12, 3, noise=3)
    found = st.rsa(model, human, permutations=0, draws=200, seed=5)
    generator = np.random.default_rng(5)
    resamples = [generator.integers(0, 12, 12) for _ in range(200)]
    ends = {
        kept: np.percentile(
            [spearman_of_rows(model, human, rows, keep_self_pairs=kept) for rows in resamples], [2.5, 97.5]
        )
        for kept in (False, True)
    }
    assert (found.low, found.high) == pytest.approx(tuple(ends[False]))
    assert ends[True][0] > found.low + 0.1


# Components and axes


def test_partial_correlation_is_that_of_the_residuals_of_two_regressions():
    x, y, given = np.random.default_rng(0).normal(size=(3, 40))
    x, y = x + given, y - 0.5 * given + 0.4 * x
    left = [one - LinearRegression().fit(given[:, None], one).predict(given[:, None]) for one in (x, y)]
    assert partial_correlation(x, y, given) == pytest.approx(np.corrcoef(*left)[0, 1])
    assert np.isnan(partial_correlation(given, y, given))


def test_components_are_those_of_scikit_learn():
    model, _ = related(20, 6, noise=1)
    scores, scree = st.component_scores(model)
    theirs = PCA().fit(model)
    np.testing.assert_allclose(np.abs(scores), np.abs(theirs.transform(model)), atol=1e-9)
    np.testing.assert_allclose(scree, theirs.explained_variance_ratio_)


def test_component_correlations_are_numpys_without_their_sign():
    model, human = related(20, 6, noise=1)
    scores = PCA(3).fit_transform(model)
    found = component_correlations(scores, human, permutations=0, draws=0)
    turned = component_correlations(-scores, human, permutations=0, draws=0)
    for k in range(3):
        score = scores[:, k]
        expected = [abs(np.corrcoef(score, human[:, axis])[0, 1]) for axis in (0, 1)]
        left = [one - LinearRegression().fit(human[:, :1], one).predict(human[:, :1]) for one in (score, human[:, 1])]
        expected.append(abs(np.corrcoef(*left)[0, 1]))
        for of in (found, turned):
            assert [of[kind][k].value for kind in st.KINDS] == pytest.approx(expected)


def test_a_component_of_either_sign_has_the_same_p_and_interval():
    model, human = related(20, 6, noise=1)
    score = PCA(1).fit_transform(model)
    one, other = (
        component_correlations(way * score, human, permutations=99, draws=99)["valence"][0] for way in (1, -1)
    )
    assert (one.value, one.low, one.high, one.p) == pytest.approx((other.value, other.low, other.high, other.p))


def test_the_interval_of_a_component_that_says_nothing_reaches_across_0():
    generator = np.random.default_rng(0)
    found = [
        component_correlations(generator.normal(size=(28, 1)), generator.normal(size=(28, 2)), permutations=0, draws=99)
        for _ in range(60)
    ]
    assert coverage([one["arousal"][0] for one in found], 0) >= 0.85


def test_axis_agreement_is_numpys_correlation_and_the_partial_one():
    reading, human = np.random.default_rng(0).normal(size=(2, 30, 2))
    reading = reading + human
    found = st.axis_agreement(reading, human, permutations=0, draws=0)
    expected = [np.corrcoef(reading[:, axis], human[:, axis])[0, 1] for axis in (0, 1)]
    one, other = (
        it - LinearRegression().fit(human[:, :1], it).predict(human[:, :1]) for it in (reading[:, 1], human[:, 1])
    )
    expected.append(np.corrcoef(one, other)[0, 1])
    assert [found[kind].value for kind in ("valence", "arousal", "arousal_given_valence")] == pytest.approx(expected)
    against = st.axis_agreement(-reading, human, permutations=99, draws=0)["valence"]
    assert against.value == pytest.approx(-expected[0])  # an axis has a direction
    assert against.p == 1


@pytest.mark.parametrize("d", [5, 40])
def test_held_out_axes_are_those_of_a_loop_over_parts(d):
    model, human = related(21, d, noise=1)
    found = st.held_out_axes(model, human, seed=3)
    parts = [set(part) for part in np.array_split(np.random.default_rng(3).permutation(21), 7)]
    for part in parts:
        fitted, held_out = [i for i in range(21) if i not in part], sorted(part)
        scale = np.sqrt(((model[fitted] - model[fitted].mean(0)) ** 2).sum() / len(fitted) / min(d, 21))
        for axis in (0, 1):
            ridge = RidgeCV(np.logspace(-2, 4, 13)).fit(model[fitted] / scale, human[fitted, axis])
            np.testing.assert_allclose(found[held_out, axis], ridge.predict(model[held_out] / scale), atol=1e-7)


def test_no_categorys_prediction_depends_on_its_own_rating():
    model, human = related(21, 6, noise=1)
    plain = st.held_out_axes(model, human)
    for i in range(21):
        changed = human.copy()
        changed[i] += 50
        found = st.held_out_axes(model, changed)
        np.testing.assert_allclose(found[i], plain[i])
        assert np.abs(found - plain).max() > 0.1  # others learn from it


def test_held_out_agreement_is_that_of_the_held_out_axes():
    model, human = related(21, 6, noise=1)
    found = st.held_out_agreement(model, human, permutations=99, draws=50)
    plain = st.axis_agreement(st.held_out_axes(model, human), human, permutations=0, draws=50)
    for kind in st.KINDS:
        assert (found[kind].value, found[kind].low, found[kind].high) == (
            plain[kind].value,
            plain[kind].low,
            plain[kind].high,
        )
        assert found[kind].p == 0.01


# Procrustes


def procrustes_by_scipy(source, target, k, seed):
    """Held-out points and where they should be, by a loop over the seven parts."""
    n = len(source)
    mapped, true, nearer = np.empty((n, k)), np.empty((n, k)), np.empty(n, int)
    for part in np.array_split(np.random.default_rng(seed).permutation(n), 7):
        fitted = np.array([i for i in range(n) if i not in set(part)])
        ours, theirs = PCA(k).fit(source[fitted]).transform(source), PCA(k).fit_transform(target)
        theirs = theirs - theirs[fitted].mean(0)
        rotation, scale = orthogonal_procrustes(ours[fitted], theirs[fitted])
        for i in part:
            mapped[i] = ours[i] @ rotation * scale / (ours[fitted] ** 2).sum()
            true[i] = theirs[i]
            apart = np.linalg.norm(theirs - mapped[i], axis=1)
            nearer[i] = sorted(apart).index(apart[i])
    return mapped, true, nearer


def test_the_held_out_map_is_that_of_scipy_in_a_loop_over_parts():
    model, human = related(20, 6, noise=1)
    other = model @ np.random.default_rng(2).normal(size=(6, 5)) + np.random.default_rng(3).normal(size=(20, 5))
    for target, k in ((human, 2), (other, 4)):
        found = st.held_out_map(model, target, components=k, seed=4)
        mapped, true, nearer = procrustes_by_scipy(model, target, k, 4)
        apart = ((mapped - true) ** 2).sum(1)
        np.testing.assert_allclose(((found.mapped - found.true) ** 2).sum(1), apart)
        np.testing.assert_array_equal(found.nearer, nearer)
        assert found.explained == pytest.approx(1 - apart.sum() / (true**2).sum())
        measured = st.procrustes(model, target, components=k, permutations=0, draws=10, seed=4)
        assert measured.value == pytest.approx(found.explained)


def test_a_rotated_and_scaled_copy_is_mapped_exactly():
    generator = np.random.default_rng(0)
    source = generator.normal(size=(20, 5)) * [5, 4, 3, 2, 1]
    target = 0.3 * source @ random_rotation(5, generator) + generator.normal(size=5)
    assert scipy_procrustes(source, target)[2] == pytest.approx(0, abs=1e-12)
    found = st.held_out_map(source, target, components=5)
    np.testing.assert_allclose(found.mapped, found.true, atol=1e-9)
    assert found.explained == pytest.approx(1)
    assert not found.nearer.any()


@pytest.mark.parametrize("k", [2, 8])
def test_unrelated_spaces_are_mapped_no_better_than_by_chance(k):
    """More dimensions than categories, as in a model: each held-out point is far from the space of the others."""
    generator = np.random.default_rng(0)
    found = [
        st.held_out_map(generator.normal(size=(28, 60)), generator.normal(size=(28, 60)), components=k)
        for _ in range(60)
    ]
    assert np.mean([one.explained for one in found]) < 0
    assert np.mean([(one.nearer == 0).mean() for one in found]) == pytest.approx(1 / 28, abs=0.015)
    assert np.mean([one.nearer.mean() for one in found]) == pytest.approx(13.5, abs=1.5)


# p under the null


NULLS = {
    "rsa": lambda model, human, **effort: [st.rsa(model, human, **effort)],
    "components": lambda model, human, **effort: [
        of[0] for of in component_correlations(model[:, :1], human, **effort).values()
    ],
    "axes": lambda model, human, **effort: [*st.axis_agreement(model[:, :2], human, **effort).values()],
    "held_out_axes": lambda model, human, **effort: [*st.held_out_agreement(model, human, **effort).values()],
}


@pytest.mark.parametrize("name", NULLS)
def test_p_is_uniform_where_there_is_nothing(name):
    generator = np.random.default_rng(1)
    found = [
        NULLS[name](
            generator.normal(size=(12, 3)), generator.normal(size=(12, 2)), permutations=39, draws=0, seed=repetition
        )
        for repetition in range(60 if name == "held_out_axes" else 250)
    ]
    for each in zip(*found, strict=True):
        assert_uniform([one.p for one in each])


def test_the_p_of_a_procrustes_map_is_uniform_where_there_is_nothing():
    generator = np.random.default_rng(1)
    found = [
        st.procrustes(
            generator.normal(size=(12, 3)),
            generator.normal(size=(12, 2)),
            components=2,
            permutations=19,
            draws=1,
            seed=i,
        )
        for i in range(80)
    ]
    assert_uniform([one.p for one in found])


@pytest.mark.slow
def test_swapped_names_of_emotions_come_out_at_chance():
    concepts = ConceptSet.load("en")
    rated = [concepts[name] for name in concepts.emotions if concepts[name].valence is not None]
    human = np.array([[one.valence, one.arousal] for one in rated])
    generator = np.random.default_rng(0)
    model = st.standardised(human) @ generator.normal(size=(2, 40)) + generator.normal(size=(len(human), 40))
    scores, _ = st.component_scores(model)

    def battery(names: np.ndarray, seed: int) -> dict[str, st.Measure]:
        effort = {"permutations": 39, "seed": seed}
        swapped = human[names]
        components = component_correlations(scores[:, :2], swapped, **effort, draws=0)
        return {
            "rsa": st.rsa(model, swapped, **effort, draws=0),
            "pc1_valence": components["valence"][0],
            "pc2_arousal_given_valence": components["arousal_given_valence"][1],
            "axis_valence": (axes := st.held_out_agreement(model, swapped, **effort, draws=0))["valence"],
            "axis_arousal_given_valence": axes["arousal_given_valence"],
            "circumplex": st.procrustes(scores[:, :2], swapped, components=2, permutations=19, draws=1, seed=seed),
        }

    own = battery(np.arange(len(human)), 0)
    assert {name: one.p for name, one in own.items()} == {**dict.fromkeys(own, 1 / 40), "circumplex": 1 / 20}
    swapped = [battery(generator.permutation(len(human)), seed) for seed in range(50)]
    for name in own:
        found = [one[name].p for one in swapped]
        assert_uniform(found)
        assert kstest(found, "uniform").pvalue > 0.001, name


# Intervals


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_intervals_of_components_and_axes_hold_the_true_correlation(rho):
    """Bivariate normal, so the truth is known; 28 categories, as in the concept sets. In 200 samples .92 to .95."""
    generator = np.random.default_rng(0)
    components, axes = [], []
    for _ in range(80):
        human = generator.normal(size=(28, 2))
        read = rho * human + np.sqrt(1 - rho**2) * generator.normal(size=(28, 2))
        components.append(component_correlations(read[:, 1:], human, permutations=0, draws=100)["arousal"][0])
        axes.append(st.axis_agreement(read, human, permutations=0, draws=100)["arousal_given_valence"])
    assert 0.85 <= coverage(components, rho) <= 0.99
    assert 0.85 <= coverage(axes, rho) <= 0.99  # valence is independent, so the partial correlation is rho as well


@pytest.mark.parametrize("noise", [0.3, 0.8, 1.5])
def test_intervals_of_rsa_hold_the_value_in_the_population(noise):
    """A population of 1,500 categories stands for the truth, a sample of 28 is measured. Found: .93 to .95."""
    generator = np.random.default_rng(0)

    def sample(n):
        human = generator.normal(size=(n, 2))
        return human + noise * generator.normal(size=(n, 2)), human

    true = spearmanr(*map(pdist, sample(1_500))).statistic
    found = [st.rsa(*sample(28), permutations=0, draws=100) for _ in range(80)]
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.03)
    assert 0.85 <= coverage(found, true) <= 0.99


def test_the_same_seed_gives_the_same_measure():
    model, human = related(14, 4, noise=2)
    effort = {"permutations": 29, "draws": 30}
    for of in (
        lambda seed: st.rsa(model, human, **effort, seed=seed),
        lambda seed: component_correlations(model, human, **effort, seed=seed),
        lambda seed: st.axis_agreement(model[:, :2], human, **effort, seed=seed),
        lambda seed: st.held_out_agreement(model, human, **effort, seed=seed),
        lambda seed: st.procrustes(model, human, components=2, **effort, seed=seed),
    ):
        assert of(3) == of(3)
        assert of(3) != of(4)


def test_a_measure_is_written_with_its_interval():
    assert str(st.Measure(-0.456, -0.6, -0.3, 0.01, 28)) == "−0.46 [−0.60, −0.30]"
    assert str(st.Measure(-0.456)) == "−0.46"
