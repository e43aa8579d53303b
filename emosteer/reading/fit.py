"""Fitting a readout to a model.

At each layer the residual stream's distance from its mean on neutral text is divided by its variance, dimension by
dimension, and projected on the emotion's direction: a linear discriminant with a diagonal covariance, without which a
few very large dimensions drown the others. Layers are averaged. Valence and arousal are linear in the scores, fitted by
ridge regression to human ratings of the emotions that the built-in texts express.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emosteer.concepts import ConceptSet
from emosteer.errors import ConceptError
from emosteer.models.activations import collect, encode
from emosteer.reading.emotion_reading import token_scores
from emosteer.vectors.types import AXES, EmotionInfo, Readout

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors import EmotionVectors

LAYERS = 8
"""Layers that a readout reads at by default."""

TEXTS_AN_EMOTION = 4
"""Sentences, and as many situations, of each emotion that valence and arousal are fitted on."""

CALIBRATION_TEXTS = 24

__all__ = ["fit_readout"]


def fit_readout(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    vectors: EmotionVectors,
    *,
    layers: Sequence[int] | None = None,
    progress: bool = True,
) -> Readout:
    """Fit a readout on neutral text, and on some texts of the emotions that have human ratings, with the plain model.

    Args:
        model: That the vectors were made for.
        tokenizer: Its tokenizer.
        vectors: Whose directions are read.
        layers: Read at these; by default at eight, spread over the middle of those that the vectors have.
        progress: Show a progress bar if standard error is a terminal.

    Raises:
        ToneError: The model or the vectors have no such layer.
    """
    import torch

    used = tuple(layers) if layers is not None else _middle_layers(vectors.layers)
    concepts = _texts_for(vectors)
    neutral = [text for part in concepts.neutral.values() for text in part.sentences]
    rated = _rated(concepts, vectors)
    texts = [*neutral, *(text for text, _ in rated)]
    states = collect(model, tokenizer, texts, layers=used, batch_size=32, progress=progress).states
    center = states[: len(neutral)].mean(0)
    # Of all texts: an emotion's own share of the variance is small, and neutral texts alone are too few.
    variance = states.var(0).clamp_min(1e-12).unsqueeze(-1)
    rows = [vectors.layers.index(layer) for layer in used]
    weights = torch.stack([direction[rows] for direction in vectors.directions.values()], -1) / variance / len(used)
    weights = weights / torch.einsum("nld,ldc->nc", states[: len(neutral)] - center, weights).std(0)
    if rated:
        scores = torch.einsum("nld,ldc->nc", states[len(neutral) :] - center, weights)
        weights = torch.cat([weights, weights @ _axes_from_scores(scores, [info for _, info in rated])], -1)
    bias = -torch.einsum("ld,ldc->c", center, weights)
    ones = torch.ones(len(bias))
    axes = AXES if rated else ()
    uncalibrated = Readout(vectors.emotions, axes, dict(zip(used, weights, strict=True)), bias, ones, ones)
    return _with_error_model(uncalibrated, model, tokenizer, neutral)


def _with_error_model(
    readout: Readout, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, neutral: Sequence[str]
) -> Readout:
    """Add spread and inertia of neutral tokens: n of them vary as n / inertia independent ones would."""
    import torch

    texts = [
        token_scores(readout, model, encode(tokenizer, text, model, "The text").ids)[1:]
        for text in neutral[:CALIBRATION_TEXTS]
    ]
    tokens = torch.cat(texts)
    spread = tokens.std(0)
    means = torch.stack([text.mean(0) for text in texts])
    length = len(tokens) / len(texts)
    inertia = (means.var(0) * length / spread.square().clamp_min(1e-12)).clamp(1, length)
    return Readout(readout.emotions, readout.axes, readout.weights, readout.bias, spread, inertia)


def _middle_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """Up to eight layers between a seventh and six sevenths of the depth."""
    last = len(layers) - 1
    places = [round(last * (1 / 7 + 5 / 7 * i / (LAYERS - 1))) for i in range(LAYERS)]
    return tuple(layers[place] for place in sorted(set(places)))


def _texts_for(vectors: EmotionVectors) -> ConceptSet:
    """The built-in texts in the languages that the vectors were made from, English where none are known."""
    merged: ConceptSet | None = None
    for language in vectors.extraction.get("languages") or ["en"]:
        try:
            concepts = ConceptSet.load(language)
        except ConceptError:  # a language of the user's own
            continue
        merged = concepts if merged is None else merged.merge(concepts)
    return merged or ConceptSet.load("en")


def _rated(concepts: ConceptSet, vectors: EmotionVectors) -> list[tuple[str, EmotionInfo]]:
    """Texts of the emotions that have human ratings and texts, with what is known of their emotion."""
    rated = []
    for name in vectors.emotions:
        info = vectors.info[name]
        if info.valence is None or info.arousal is None or name not in concepts.emotions:
            continue
        for texts in concepts[name].texts.values():
            for part in (texts.sentences, texts.situations):
                rated += [(text, info) for text in part[:TEXTS_AN_EMOTION]]
    return rated


def _axes_from_scores(scores: Tensor, infos: Sequence[EmotionInfo]) -> Tensor:
    """`[columns, 2]`: from scores `[texts, columns]` to the human valence and arousal of their emotions.

    Ridge regression without an intercept, since neutral text is 0. The penalty is that of as much noise as there is
    signal.
    """
    import torch

    ratings = torch.tensor([(info.valence, info.arousal) for info in infos], dtype=torch.float64)
    scores = scores.double()
    gram = scores.T @ scores
    penalty = torch.eye(len(gram), dtype=torch.float64) * gram.diagonal().mean()
    solution: Tensor = torch.linalg.solve(gram + penalty, scores.T @ ratings)
    return solution.float()
