"""The shape of the emotions: where a model puts them, against human ratings and against another language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

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
"""Divisions of the categories in two for the layer that is chosen on one half and measured on the other."""

__all__ = ["Emotions", "geometry_of", "halves", "language_pair"]


class Emotions:
    """Where a model puts the emotions of one language: the mean state after their words, over frames, a layer each."""

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
        """Names of the emotions that have ratings."""
        return tuple(name for name in self.names if name in ratings)

    def points(self, layer: int, names: Sequence[str], *, part: int | None = None) -> Points:
        """`[n_names, d]` at a layer of the grid; of every other word only if a part, 0 or 1, is named."""
        return self._means(self._states[layer], names, part)

    def at(self, ratings: Mapping[str, tuple[float, float]]) -> tuple[list[Points], Points]:
        """Points at every layer of the grid, and the human ratings, of the categories that have some."""
        names = self.rated(ratings)
        human = np.asarray([ratings[name] for name in names], dtype=float)
        return [self.points(layer, names) for layer in range(len(self._states))], human

    def inputs(self, names: Sequence[str]) -> Points:
        """`[n_names, d]`: means of input embeddings."""
        return self._means(self._inputs, names, None)

    def _means(self, states: NDArray[np.float64], names: Sequence[str], part: int | None) -> Points:
        rows = (np.flatnonzero(self._owner == self.names.index(name)) for name in names)
        return np.stack([states[own if part is None else own[part::2]].mean(0) for own in rows])


def geometry_of(
    run: Run, emotions: Emotions, name: str, ratings: Mapping[str, tuple[float, float]], layer: int
) -> Geometry:
    """The whole geometry against one set of human ratings, at one layer, with its profile over layers."""
    names = emotions.rated(ratings)
    spaces, human = emotions.at(ratings)
    here = run.layers.index(layer)
    measures = _shape(run, spaces[here], human)
    axes = st.held_out_agreement(spaces[here], human, **run.less_effort)
    scores, scree = st.principal_components(spaces[here])
    other_half = halves((spaces, human), run.seed)[0]
    low, high = np.percentile(other_half, [2.5, 97.5])
    measures |= {f"axis_{kind}": found for kind, found in axes.items()}
    measures["rsa_other_half"] = Measure(float(np.mean(other_half)), float(low), float(high), None, len(names))
    measures["circumplex"] = st.procrustes(scores[:, :2], st.standardised(human), components=2, **run.less_effort)
    profile = {
        one: {kind: plain(found) for kind, found in _shape(run, space, human, fast=True).items()}
        for one, space in zip(run.layers, spaces, strict=True)
    }
    return Geometry(
        language=emotions.language,
        ratings=name,
        layer=layer,
        emotions=names,
        measures=measures,
        control=_shape(run, emotions.inputs(names), human),
        scree=tuple(float(share) for share in scree[:10]),
        profile=profile,
        points=rounded(_turned(scores[:, :2], human)),
        human=rounded(human),
        similarity=tuple(map(tuple, np.corrcoef(spaces[here] - spaces[here].mean(0)).round(4).tolist())),
    )


def _shape(run: Run, space: Points, human: Points, *, fast: bool = False) -> dict[str, Measure]:
    """Similarity and the two leading components; without p and intervals if it is to be fast."""
    effort = {"permutations": 0, "draws": 0} if fast else run.effort
    plane = st.principal_components(space)[0][:, :2]
    components = st.component_correlations(plane, human, **effort)
    return {
        "rsa": st.rsa(space, human, **effort),
        "rsa_plane": st.rsa(plane, human, **effort),
        "pc1_valence": components["valence"][0],
        "pc2_arousal": components["arousal"][1],
        "pc2_arousal_given_valence": components["arousal_given_valence"][1],
    }


def halves(spaces: tuple[list[Points], Points], seed: int) -> tuple[list[float], list[int]]:
    """The layer chosen on one half of the categories by similarity, and the similarity of the other half there."""
    layers, human = spaces
    generator = np.random.default_rng(seed)
    found, chosen = [], []
    for _ in range(HALVES):
        order = generator.permutation(len(human))
        halves = np.array_split(order, 2)
        for one, other in (halves, halves[::-1]):
            of = [plain(st.rsa(space[one], human[one], permutations=0, draws=0)) for space in layers]
            chosen.append(int(np.argmax(of)))
            found.append(plain(st.rsa(layers[chosen[-1]][other], human[other], permutations=0, draws=0)))
    return found, chosen


def language_pair(run: Run, one: Emotions, other: Emotions, layers: tuple[int, int]) -> LanguagePair:
    """What the second language shares with the first, its layer and its own."""
    names = tuple(name for name in one.names if name in other.names)
    here, there = (run.layers.index(layer) for layer in layers)
    source, target = one.points(here, names), other.points(there, names)
    mapped = st.held_out_map(source, target, components=COMPONENTS, seed=run.seed)
    hits = (mapped.nearer == 0).astype(float)
    generator = np.random.default_rng(run.seed)
    drawn = [hits[generator.integers(0, len(hits), len(hits))].mean() for _ in range(st.DRAWS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    # Reliable is what two halves of the words say alike; the halves' own noise is not counted.
    first, second = (_centred(other.points(there, names, part=part)) for part in (0, 1))
    whole = _centred(target)
    components = np.linalg.svd(whole, full_matrices=False)[2][: mapped.true.shape[1]]
    reliable = float(((first @ components.T) * (second @ components.T)).sum())
    total = float(((whole @ components.T) ** 2).sum())

    def shared(rows: NDArray[np.intp]) -> float:
        return float((mapped.mapped[rows] * mapped.true[rows]).sum() * len(names) / len(rows)) / max(reliable, 1e-30)

    resampled = [shared(generator.integers(0, len(names), len(names))) for _ in range(st.DRAWS)]
    share = shared(np.arange(len(names)))
    share_low, share_high = np.percentile(resampled, [2.5, 97.5])
    apart = np.linalg.norm(mapped.mapped - mapped.true, axis=1)
    order = np.argsort(-apart)
    return LanguagePair(
        languages=(one.language, other.language),
        layers=layers,
        procrustes=st.procrustes(source, target, components=COMPONENTS, **run.less_effort),
        identified=Measure(float(hits.mean()), float(low), float(high), None, len(names)),
        rsa=st.rsa(source, target, standardise=False, **run.effort),
        shared=Measure(share, float(share_low), float(share_high), None, len(names)),
        specific=1 - share,
        unreliable=1 - reliable / max(total, 1e-30),
        differences={names[i]: float(apart[i] / apart.mean()) for i in order},
    )


def _turned(points: Points, human: Points) -> Points:
    """The plane turned, mirrored and scaled onto the human ratings: to be looked at, fitted on all categories."""
    spread, middle = human.std(0), human.mean(0)
    ours, theirs = points - points.mean(0), (human - middle) / spread
    left, values, right = np.linalg.svd(ours.T @ theirs)
    scale = values.sum() / max((ours**2).sum(), 1e-30)
    turned: Points = ours @ (left @ right) * scale * spread + middle
    return turned


def _centred(points: Points) -> Points:
    centred: Points = points - points.mean(0)
    return centred
