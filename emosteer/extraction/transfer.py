"""Transfer of vectors from one model to another, with the measured loss."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from emosteer._util.stats import cluster_means, estimate, resamples
from emosteer.concepts import ConceptSet
from emosteer.errors import ConceptError, IncompatibleModelError
from emosteer.extraction.extractor import NEUTRAL_VARIANCE, Corpus, texts_digest
from emosteer.extraction.linear_map import (
    FOLDS,
    PENALTY,
    SEED,
    HeldOut,
    Reading,
    held_out,
    pushed,
    ridge_map,
    same_depth,
)
from emosteer.models.activations import POOLINGS
from emosteer.models.fingerprint import base_model_of
from emosteer.vectors.emotion_vectors import EmotionVectors

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LEAST_EMOTIONS = 10
"""Smallest number of emotions in the texts; fewer say too little about emotions that are not among them."""

LEAST_SHARE = 0.5
"""Smallest agreement as a share of the ceiling; a map below it confuses emotions."""

LEAST_COSINE = 0.2
"""Smallest agreement. A target with a lower ceiling, such as one with random weights, has no emotions to steer by."""

__all__ = ["LEAST_COSINE", "LEAST_EMOTIONS", "LEAST_SHARE", "transfer"]


def transfer(
    vectors: EmotionVectors,
    source_model: PreTrainedModel,
    source_tokenizer: PreTrainedTokenizerBase,
    target_model: PreTrainedModel,
    target_tokenizer: PreTrainedTokenizerBase,
    concepts: ConceptSet | None = None,
    *,
    batch_size: int = 32,
    progress: bool = True,
) -> EmotionVectors:
    """Transfer the vectors of one model to another, by a map fitted on texts that both read.

    This is for emotions whose texts you do not have. With the texts, `extract` gives better vectors for less reading.

    For each layer of the target, ridge regression predicts its pooled activations from those of the source's layer at
    the same relative depth, both without the principal components of neutral text. The source's directions are pushed
    through the map and scaled to unit length.

    The loss is measured by cross-validation over the emotions of the concept set, in five parts: directions of the
    source, pushed through a map fitted on the other emotions, are compared with directions extracted from the target.
    The result stores the comparison in `extraction["held_out"]`, with its controls and its ceiling.

    Args:
        vectors: Vectors of the source; they may have emotions that the concept set lacks.
        source_model: Model of the vectors.
        source_tokenizer: Its tokenizer.
        target_model: Model that receives them, of any width, depth and architecture.
        target_tokenizer: Its tokenizer.
        concepts: Texts that both models read; the built-in English set by default.
        batch_size: Texts per batch.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        Vectors for every layer of the target, with its residual norms, neutral mean and basis. They have no doses:
        those of the source are in units of its own norms, and their costs were measured on its own answers.

    Raises:
        IncompatibleModelError: The vectors are not the source's, or held-out emotions are not carried over well enough.
        ConceptError: The concept set has too few emotions to hold some out, or a model cannot tell them apart.
        InputError: A text cannot be read.
    """
    import torch

    vectors.check_model(source_model)
    concepts = concepts or ConceptSet.load("en")
    if len(concepts.emotions) < LEAST_EMOTIONS:
        raise ConceptError(
            f"The concept set {concepts.name!r} has {len(concepts.emotions)} emotions: too few to hold some of them "
            f"out, which needs {LEAST_EMOTIONS}.",
            "Merge it with a built-in set, or leave it out.",
        )
    corpus = Corpus.of(concepts)
    pooling = str(vectors.extraction.get("pooling"))
    reading: dict[str, Any] = {
        "pooling": pooling if pooling in POOLINGS else "mean",
        "batch_size": batch_size,
        "progress": progress,
    }
    source = Reading.of(source_model, source_tokenizer, corpus, layers=vectors.layers, **reading)
    target = Reading.of(target_model, target_tokenizer, corpus, **reading)
    depth = len(target.norms)
    feeds = same_depth(vectors.layers, vectors.base_model.num_hidden_layers, depth)
    measured = _summary(held_out(source, target, feeds), corpus.emotions)
    _require_carried(measured)
    moved = target.states.new_empty(len(vectors.emotions), depth, target.states.shape[2])
    for layer, row in enumerate(feeds):
        sent = torch.stack([vectors.directions[name][row] for name in vectors.emotions])
        matrix = ridge_map(source.contrasts(row), target.contrasts(layer))
        moved[:, layer] = pushed(sent, matrix, target.basis[layer])
    return EmotionVectors(
        directions={name: moved[i] for i, name in enumerate(vectors.emotions)},
        residual_norm=target.norms,
        layers=tuple(range(depth)),
        base_model=base_model_of(target_model),
        info=vectors.info,
        extraction={
            "method": "transferred",
            "source": _described(vectors),
            "map": {
                "kind": "ridge",
                "penalty": PENALTY,
                "n_texts": len(corpus.passages),
                "source_layers": [vectors.layers[row] for row in feeds],
            },
            "held_out": measured,
            "pooling": reading["pooling"],
            "neutral_variance": NEUTRAL_VARIANCE,
            "templates": {language: texts_digest(part.frames) for language, part in concepts.neutral.items()},
            "concepts": concepts.name,
            "concepts_digest": concepts.digest,
            "languages": list(concepts.languages),
            "counts": {"emotional": corpus.neutral, "neutral": len(corpus.passages) - corpus.neutral},
            "seed": SEED,
        },
        license=vectors.license,
        center=target.center,
        neutral_basis=target.basis,
    )


def _summary(results: HeldOut, emotions: tuple[str, ...]) -> dict[str, Any]:
    """Return the results as plain data, rounded."""
    cosine = results.cosines["cosine"]
    return {
        "n_emotions": len(emotions),
        "folds": FOLDS,
        **{name: _over_emotions(cosines) for name, cosines in results.cosines.items()},
        "cosine_by_emotion": dict(zip(emotions, _rounded(cosine.mean(1)), strict=True)),
        "cosine_by_layer": _rounded(cosine.mean(0)),
        "r2": _rounded(results.r2),
    }


def _over_emotions(cosines: Tensor) -> dict[str, float]:
    """Return the mean of `[n_emotions, n_layers]` with its 95 % interval by bootstrap over emotions."""
    means, n = cosines.mean(1).tolist(), len(cosines)
    mean = estimate(cluster_means(means, range(n), resamples(n, seed=SEED)))
    assert mean is not None  # cosines are finite
    return {name: round(value, 3) for name, value in asdict(mean).items()}


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


def _require_carried(measured: Mapping[str, Any]) -> None:
    """Refuse a map that does not carry over emotions which it was not fitted on."""
    halves, ceiling = measured["halves"], measured["ceiling"]
    least = max(LEAST_COSINE, LEAST_SHARE * ceiling["value"])
    if halves["low"] < least:
        raise IncompatibleModelError(
            f"Emotions do not come through from the one model to the other: {measured['n_emotions']} that were held "
            f"out of the map agree with the target's own to a cosine of {halves['value']:.2f} "
            f"({halves['low']:.2f} to {halves['high']:.2f}) across halves of the texts, where {least:.2f} is the "
            f"least, the target's own agree to {ceiling['value']:.2f}, and a map fitted on shuffled texts gives "
            f"{measured['shuffled_texts']['value']:.2f}.",
            "Extract vectors from the target itself: emosteer extract --model …",
        )


def _described(vectors: EmotionVectors) -> dict[str, Any]:
    """Describe the source vectors."""
    digest = hashlib.sha256()
    for name, direction in vectors.directions.items():
        digest.update(name.encode() + direction.float().cpu().contiguous().numpy().astype("<f4").tobytes())
    made = {name: vectors.extraction.get(name) for name in ("method", "concepts", "concepts_digest")}
    return {**asdict(vectors.base_model), **made, "digest": digest.hexdigest()}
