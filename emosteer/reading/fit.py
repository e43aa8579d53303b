"""Fitting a readout to a model.

At each layer the residual stream, less its mean on neutral text, is divided by its variance in each dimension and
projected on the emotion's direction. This is a linear discriminant with a diagonal covariance; without the division a
few very large dimensions would dominate. Layers are averaged. Valence and arousal are linear in the scores, fitted by
ridge regression to human ratings of the emotions that the built-in texts express.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from emosteer._util.numbers import layer_numbers
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
"""Number of layers that a readout uses by default."""

TEXTS_AN_EMOTION = 4
"""Number of sentences, and of situations, of each emotion to fit valence and arousal on."""

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
    """Fit a readout on neutral text, and on texts of the emotions that have human ratings, with the plain model.

    Args:
        model: The model that the vectors were made for.
        tokenizer: Its tokenizer.
        vectors: The vectors whose directions are read.
        layers: Layers to read; by default eight, spread over the middle of the vectors' layers.
        progress: Whether to show progress on standard error, as for `collect`.

    Raises:
        ToneError: The model or the vectors do not have one of the layers.
    """
    import torch

    layers = layer_numbers(layers) if layers is not None else _middle_layers(vectors.layers)
    concepts = _texts_for(vectors)
    neutral = [text for part in concepts.neutral.values() for text in part.sentences]
    rated = _rated(concepts, vectors)
    texts = [*neutral, *(text for text, _ in rated)]
    states = collect(model, tokenizer, texts, layers=layers, batch_size=32, progress=progress).states
    center = states[: len(neutral)].mean(0)
    # Over all texts, because neutral ones alone are too few and emotions contribute little to the variance.
    variance = states.var(0).clamp_min(1e-12).unsqueeze(-1)
    rows = [vectors.layers.index(layer) for layer in layers]
    weights = torch.stack([direction[rows] for direction in vectors.directions.values()], -1) / variance / len(layers)
    weights = weights / torch.einsum("nld,ldc->nc", states[: len(neutral)] - center, weights).std(0)
    if rated:
        scores = torch.einsum("nld,ldc->nc", states[len(neutral) :] - center, weights)
        weights = torch.cat([weights, weights @ _axes_from_scores(scores, [info for _, info in rated])], -1)
    bias = -torch.einsum("ld,ldc->c", center, weights)
    ones = torch.ones_like(bias)
    axes = AXES if rated else ()
    uncalibrated = Readout(vectors.emotions, axes, dict(zip(layers, weights, strict=True)), bias, ones, ones)
    return _with_error_model(uncalibrated, model, tokenizer, neutral)


def _with_error_model(
    readout: Readout, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, neutral: Sequence[str]
) -> Readout:
    """Return the readout with spread and inertia, where the mean of n tokens varies like that of n / inertia."""
    import torch

    texts = [
        token_scores(readout, model, encode(tokenizer, text, model, "The text").ids)[1:]
        for text in neutral[:CALIBRATION_TEXTS]
    ]
    texts = [text[text.isfinite().all(1)] for text in texts]  # without further sinks
    tokens = torch.cat(texts)
    spread = tokens.std(0)
    means = torch.stack([text.mean(0) for text in texts])
    length = len(tokens) / len(texts)
    inertia = (means.var(0) * length / spread.square().clamp_min(1e-12)).clamp(1, length)
    return Readout(readout.emotions, readout.axes, readout.weights, readout.bias, spread, inertia)


def _middle_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """Return up to eight layers between one seventh and six sevenths of the depth."""
    last = len(layers) - 1
    indices = {round(last * (1 / 7 + 5 / 7 * i / (LAYERS - 1))) for i in range(LAYERS)}
    return tuple(layers[index] for index in sorted(indices))


def _texts_for(vectors: EmotionVectors) -> ConceptSet:
    """Return the built-in texts in the languages of the vectors, or English if there are none."""
    merged: ConceptSet | None = None
    for language in vectors.extraction.get("languages") or ["en"]:
        try:
            concepts = ConceptSet.load(language)
        except ConceptError:  # a language without built-in texts
            continue
        merged = concepts if merged is None else merged.merge(concepts)
    return merged or ConceptSet.load("en")


def _rated(concepts: ConceptSet, vectors: EmotionVectors) -> list[tuple[str, EmotionInfo]]:
    """Return texts of the emotions that have human ratings, each with the info of its emotion."""
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
    """Return weights `[columns, 2]` that map scores `[texts, columns]` to human valence and arousal.

    Ridge regression without an intercept, since neutral text is 0. The penalty equals the mean diagonal of the Gram
    matrix, that is, as much noise as signal.
    """
    import torch

    ratings = torch.tensor([(info.valence, info.arousal) for info in infos], dtype=torch.float64, device="cpu")
    scores = scores.double()
    gram = scores.T @ scores
    penalty = torch.eye(len(gram), dtype=torch.float64, device="cpu") * gram.diagonal().mean()
    solution: Tensor = torch.linalg.solve(gram + penalty, scores.T @ ratings)
    return solution.float()
