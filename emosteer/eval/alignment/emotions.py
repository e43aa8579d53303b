"""Geometry of the emotions in a model, compared with human ratings and with another language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from emosteer._util.stats import DRAWS, interval
from emosteer.concepts import ConceptSet
from emosteer.eval.alignment import statistics as st
from emosteer.eval.alignment.frames import MOODS, frames_for
from emosteer.eval.alignment.results import Geometry, LanguagePair, plain, rounded
from emosteer.eval.alignment.states import Run
from emosteer.eval.alignment.statistics import Measure, Points

if TYPE_CHECKING:
    from numpy.typing import NDArray

COMPONENTS = 10
"""Dimensions in which languages are mapped onto each other."""

HALVES = 50
"""Random splits of the categories, to choose the layer on one half and measure on the other."""

__all__ = ["Emotions", "geometry_of", "halves", "language_pair"]


class Emotions:
    """Points of the emotions of one language: the mean state after their words over all frames, for each layer."""

    def __init__(self, run: Run, language: str) -> None:
        self.language = language
        self.concepts = ConceptSet.load(language)
        words = [(name, word) for name in self.concepts.emotions for word in self.concepts[name].texts[language].words]
        self.names = self.concepts.emotions
        self.words = [word for _, word in words]
        self._owner = np.asarray([self.names.index(name) for name, _ in words])
        frames = frames_for(MOODS, language)
        states = sum(run.states(self.words, frame).astype(np.float64) for frame in frames) / len(frames)
        self._states = np.asarray(states).swapaxes(0, 1)  # [n_layers, n_words, d]
        self._inputs = run.inputs(self.words)
        self.own = {
            name: (emotion.valence, emotion.arousal)
            for name, emotion in self.concepts.concepts.items()
            if emotion.valence is not None and emotion.arousal is not None
        }

    def rated(self, ratings: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
        """Return the names of the emotions that have ratings."""
        return tuple(name for name in self.names if name in ratings)

    def points(self, layer: int, names: Sequence[str], *, part: int | None = None) -> Points:
        """Return the points `[n_names, d]` at a layer of the grid; of every other word only if `part` is 0 or 1."""
        return self._means(self._states[layer], names, part)

    def at(self, ratings: Mapping[str, tuple[float, float]]) -> tuple[list[Points], Points]:
        """Return the points at every layer of the grid, and the human ratings, of the rated emotions."""
        names = self.rated(ratings)
        human = np.asarray([ratings[name] for name in names], dtype=float)
        return [self.points(layer, names) for layer in range(len(self._states))], human

    def inputs(self, names: Sequence[str]) -> Points:
        """Return the means of input embeddings, `[n_names, d]`."""
        return self._means(self._inputs, names, None)

    def _means(self, states: NDArray[np.float64], names: Sequence[str], part: int | None) -> Points:
        rows = (np.flatnonzero(self._owner == self.names.index(name)) for name in names)
        return np.stack([states[own if part is None else own[part::2]].mean(0) for own in rows])


def geometry_of(
    run: Run, emotions: Emotions, name: str, ratings: Mapping[str, tuple[float, float]], layer: int
) -> Geometry:
    """Measure the geometry against one set of human ratings at one layer, with its profile over layers."""
    names = emotions.rated(ratings)
    spaces, human = emotions.at(ratings)
    space = spaces[run.layers.index(layer)]
    scores, scree = st.component_scores(space)
    other_half = halves((spaces, human), run.seed)[0]
    axes = st.held_out_agreement(space, human, **run.less_effort)
    measures = {
        **_similarity(run, space, human),
        **{f"axis_{kind}": agreement for kind, agreement in axes.items()},
        "rsa_other_half": Measure(float(np.mean(other_half)), *interval(other_half), None, len(names)),
        "circumplex": st.procrustes(scores[:, :2], st.standardised(human), components=2, **run.less_effort),
    }
    profile = {
        grid_layer: {kind: plain(result) for kind, result in _similarity(run, points, human, fast=True).items()}
        for grid_layer, points in zip(run.layers, spaces, strict=True)
    }
    return Geometry(
        language=emotions.language,
        ratings=name,
        layer=layer,
        emotions=names,
        measures=measures,
        control=_similarity(run, emotions.inputs(names), human),
        scree=tuple(float(share) for share in scree[:10]),
        profile=profile,
        points=rounded(_turned(scores[:, :2], human)),
        human=rounded(human),
        similarity=tuple(map(tuple, np.corrcoef(space - space.mean(0)).round(4).tolist())),
    )


def _similarity(run: Run, space: Points, human: Points, *, fast: bool = False) -> dict[str, Measure]:
    """Measure the similarity and the two leading components; without p and intervals if `fast`."""
    effort = {"permutations": 0, "draws": 0} if fast else run.effort
    plane = st.component_scores(space)[0][:, :2]
    components = st.axis_agreement(plane, human, unsigned=True, **effort)
    return {
        "rsa": st.rsa(space, human, **effort),
        "rsa_plane": st.rsa(plane, human, **effort),
        "pc1_valence": components["valence"],
        "pc2_arousal": components["arousal"],
        "pc2_arousal_given_valence": components["arousal_given_valence"],
    }


def halves(spaces: tuple[list[Points], Points], seed: int) -> tuple[list[float], list[int]]:
    """Choose the layer by similarity on one half of the categories, and measure similarity there on the other half.

    Returns:
        The similarity of the second halves, and the index of the layer chosen on each first half.
    """
    layers, human = spaces
    generator = np.random.default_rng(seed)
    similarities, chosen = [], []
    for _ in range(HALVES):
        split = np.array_split(generator.permutation(len(human)), 2)
        for first, second in (split, split[::-1]):
            scores = [plain(st.rsa(space[first], human[first], permutations=0, draws=0)) for space in layers]
            best = int(np.argmax(scores))
            chosen.append(best)
            similarities.append(plain(st.rsa(layers[best][second], human[second], permutations=0, draws=0)))
    return similarities, chosen


def language_pair(run: Run, source: Emotions, target: Emotions, layers: tuple[int, int]) -> LanguagePair:
    """Measure what the second language shares with the first, each at its own layer."""
    names = tuple(name for name in source.names if name in target.names)
    n = len(names)
    source_layer, target_layer = (run.layers.index(layer) for layer in layers)
    ours, theirs = source.points(source_layer, names), target.points(target_layer, names)
    fit = st.held_out_map(ours, theirs, components=COMPONENTS, seed=run.seed)
    hits = (fit.nearer == 0).astype(float)
    # The part that two halves of the words agree on is reliable; noise of the halves is not counted.
    components = np.linalg.svd(st.centred(theirs), full_matrices=False)[2][: fit.true.shape[1]].T
    first, second, whole = (
        st.centred(target.points(target_layer, names, part=part)) @ components for part in (0, 1, None)
    )
    reliable, total = float((first * second).sum()), float((whole**2).sum())

    def share(rows: NDArray[np.intp]) -> float:
        return float((fit.mapped[rows] * fit.true[rows]).sum() * n / len(rows)) / max(reliable, 1e-30)

    generator = np.random.default_rng(run.seed)
    identified = [hits[generator.integers(0, n, n)].mean() for _ in range(DRAWS)]
    shared = [share(generator.integers(0, n, n)) for _ in range(DRAWS)]
    value = share(np.arange(n))
    apart = np.linalg.norm(fit.mapped - fit.true, axis=1)
    return LanguagePair(
        languages=(source.language, target.language),
        layers=layers,
        procrustes=st.procrustes(ours, theirs, components=COMPONENTS, **run.less_effort),
        identified=Measure(float(hits.mean()), *interval(identified), None, n),
        rsa=st.rsa(ours, theirs, standardise=False, **run.effort),
        shared=Measure(value, *interval(shared), None, n),
        specific=1 - value,
        unreliable=1 - reliable / max(total, 1e-30),
        differences={names[i]: float(apart[i] / apart.mean()) for i in np.argsort(-apart)},
    )


def _turned(points: Points, human: Points) -> Points:
    """Turn, mirror and scale the plane onto the human ratings; fitted on all categories, to look at only."""
    ours, theirs = st.centred(points), st.centred(human) / human.std(0)
    turned: Points = ours @ st.rotation_onto(ours, theirs) * human.std(0) + human.mean(0)
    return turned
