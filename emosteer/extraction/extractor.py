"""Extraction: emotion vectors from a model and a concept set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer._util import strict_json
from emosteer._util.numbers import layer_numbers
from emosteer.concepts import ConceptSet
from emosteer.errors import ConceptError, InputError, ToneError
from emosteer.extraction.methods import METHODS, Method
from emosteer.layers import decoder_layers
from emosteer.models.activations import Passage, Progress, collect
from emosteer.models.fingerprint import base_model_of
from emosteer.vectors.emotion_vectors import EmotionVectors
from emosteer.vectors.types import EmotionInfo

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NEUTRAL_VARIANCE = 0.5
"""Share of the variance of neutral text that is projected out of every direction, by its principal components."""

__all__ = ["Corpus", "directions_from", "extract", "principal_components", "texts_digest"]


def extract(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    concepts: ConceptSet,
    *,
    method: str = "mean_difference",
    layers: Sequence[int] | None = None,
    pooling: str = "mean",
    batch_size: int = 32,
    progress: bool | Progress = True,
) -> EmotionVectors:
    """Extract one direction per emotion and layer from the activations of a model that reads a concept set.

    The model reads every word in a short frame, every sentence, every situation and the neutral texts. At each layer
    the method contrasts the texts of an emotion with those of the other emotions (with neutral text if there is only
    one). The principal components that carry half of the variance of neutral text are projected out, and the rest is
    scaled to unit length. Held-out texts are not read.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        concepts: The emotions and their texts.
        method: A key of `emosteer.extraction.METHODS`: `"mean_difference"`, `"pca"` or `"logistic"`.
        layers: Layers to keep, 0-based; all by default.
        pooling: `"mean"` over content tokens, or `"last"`.
        batch_size: Number of texts that are read at a time.
        progress: Whether to show progress on standard error, or a function to report to, as for `collect`.

    Returns:
        Vectors with residual norms, neutral mean and basis, and the split-half stability of each emotion. This is the
        cosine between the directions of two halves of its texts, averaged over layers (none with too few texts).

    Raises:
        InputError: The method or pooling is unknown, or a text cannot be read.
        ToneError: A layer does not exist.
        ConceptError: The set has no emotions, or the model cannot tell two of them apart.
    """
    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}.", f"Choose one of: {', '.join(METHODS)}.")
    if not concepts.emotions:
        raise ConceptError(f"The concept set {concepts.name!r} has no emotions.")
    corpus = Corpus.of(concepts)
    kept = tuple(sorted(set(range(len(decoder_layers(model))) if layers is None else layer_numbers(layers))))
    if not kept:
        raise ToneError("No layer is to be kept.", "Name at least one, or leave layers out for all.")
    if twins := corpus.twins(corpus.all):
        raise ConceptError(f"{twins[0]!r} and {twins[1]!r} have the same texts.", "Give each texts of its own.")
    states, norms = collect(
        model, tokenizer, corpus.passages, layers=kept, pooling=pooling, batch_size=batch_size, progress=progress
    )
    neutral = states[corpus.neutral :]
    center = neutral.mean(0)
    basis = principal_components(neutral - center, NEUTRAL_VARIANCE)
    directions = directions_from(states, corpus.all, corpus, METHODS[method], basis)
    stability: dict[str, float] = {}
    if all({corpus.labels[row] for row in half} == set(corpus.labels) for half in corpus.halves) and not any(
        corpus.twins(half) for half in corpus.halves
    ):
        first, second = (directions_from(states, half, corpus, METHODS[method], basis) for half in corpus.halves)
        cosine = (first * second).sum(-1).mean(-1)
        stability = {name: round(float(cosine[i]), 3) for i, name in enumerate(concepts.emotions)}
    return EmotionVectors(
        directions={name: directions[i] for i, name in enumerate(concepts.emotions)},
        residual_norm=norms[corpus.neutral :].mean(0),
        layers=kept,
        base_model=base_model_of(model),
        info={
            name: EmotionInfo(dict(emotion.labels), emotion.valence, emotion.arousal, emotion.source)
            for name, emotion in concepts.concepts.items()
        },
        extraction={
            "method": method,
            "pooling": pooling,
            "neutral_variance": NEUTRAL_VARIANCE,
            "templates": {language: texts_digest(part.frames) for language, part in concepts.neutral.items()},
            "concepts": concepts.name,
            "concepts_digest": concepts.digest,
            "languages": list(concepts.languages),
            "counts": {"emotional": corpus.neutral, "neutral": len(corpus.passages) - corpus.neutral},
            "seed": None,  # nothing is drawn at random
            "stability": stability,
        },
        license=concepts.license,
        center=center,
        neutral_basis=basis,
    )


@dataclass(frozen=True)
class Corpus:
    """All texts that are read: those of emotion 0, of emotion 1, …, then the neutral ones.

    Args:
        passages: The texts, in that order.
        labels: Index of the emotion of each text; for neutral texts, the number of emotions.
        halves: Two sets of rows, each with every other text of each emotion and part, and of the neutral texts.
        neutral: Row of the first neutral text.
        emotions: Names of the emotions.
    """

    passages: tuple[Passage, ...]
    labels: tuple[int, ...]
    halves: tuple[tuple[int, ...], tuple[int, ...]]
    neutral: int
    emotions: tuple[str, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """Rows of all passages."""
        return tuple(range(len(self.passages)))

    def twins(self, rows: Sequence[int]) -> tuple[str, str] | None:
        """Return two emotions that have the same texts in these rows, or None."""
        texts: list[list[str]] = [[] for _ in self.emotions]
        for row in rows:
            if self.labels[row] < len(self.emotions):
                texts[self.labels[row]].append(self.passages[row].text)
        seen: dict[tuple[str, ...], str] = {}
        for name, its_texts in zip(self.emotions, texts, strict=True):
            if (twin := seen.setdefault(tuple(sorted(its_texts)), name)) != name:
                return twin, name
        return None

    @classmethod
    def of(cls, concepts: ConceptSet) -> Corpus:
        """Collect the passages of a concept set."""
        parts = [(i, part) for i, name in enumerate(concepts.emotions) for part in _parts(concepts, name)]
        neutral = len([passage for _, part in parts for passage in part])
        for sentences in concepts.neutral.values():
            parts.append((len(concepts.emotions), [Passage.whole(text) for text in sentences.sentences]))
        passages, labels, halves = [], [], ([], [])  # type: tuple[list[Passage], list[int], tuple[list[int], list[int]]]
        for label, part in parts:
            for i, passage in enumerate(part):
                halves[i % 2].append(len(passages))
                passages.append(passage)
                labels.append(label)
        return cls(tuple(passages), tuple(labels), (tuple(halves[0]), tuple(halves[1])), neutral, concepts.emotions)


def _parts(concepts: ConceptSet, name: str) -> Iterator[list[Passage]]:
    for language, texts in concepts[name].texts.items():
        frames = concepts.neutral[language].frames
        # The words take turns with the frames, so that no frame becomes part of the meaning.
        yield [_framed(word, frames[i % len(frames)]) for i, word in enumerate(texts.words)]
        yield [Passage.whole(text) for text in texts.sentences]
        yield [Passage.whole(text) for text in texts.situations]


def _framed(word: str, frame: str) -> Passage:
    start = frame.index("{}")
    return Passage(frame.replace("{}", word, 1), start, start + len(word))


def directions_from(states: Tensor, rows: Sequence[int], corpus: Corpus, method: Method, basis: Tensor) -> Tensor:
    """Compute unit directions `[n_emotions, n_layers, d_model]` from the texts in some of the rows."""
    import torch

    labels = torch.tensor([corpus.labels[row] for row in rows], dtype=torch.long, device="cpu")
    n = len(corpus.emotions)
    chosen = states[list(rows)]
    if n > 1:
        chosen, labels = chosen[labels < n], labels[labels < n]
    classes = max(n, 2)  # a lone emotion is contrasted with neutral text
    result = states.new_empty(n, states.shape[1], states.shape[2])
    for layer in range(states.shape[1]):
        layer_states = chosen[:, layer]
        directions = method(layer_states, labels, classes)
        directions = directions - directions @ basis[layer].T @ basis[layer]
        means = torch.stack([layer_states[labels == i].mean(0) for i in range(classes)])
        towards = ((means - means.mean(0)) * directions).sum(-1, keepdim=True)
        directions = torch.where(towards < 0, -directions, directions)[:n]
        length = directions.norm(dim=-1, keepdim=True)
        for i, name in enumerate(corpus.emotions):
            if not bool(torch.isfinite(length[i]) & (length[i] > 1e-8 * layer_states.norm(dim=-1).mean())):
                raise ConceptError(
                    f"The texts of {name!r} cannot be told from the others by this model.",
                    "Give the emotion texts of its own, or more of them.",
                )
        result[:, layer] = directions / length
    return result


def principal_components(centred: Tensor, variance: float) -> Tensor:
    """Compute the principal components `[n_layers, k, d_model]` that carry a share of the variance at each layer.

    k is the largest number that any layer needs. Layers that need fewer are padded with rows of zeros.

    Args:
        centred: `[n_texts, n_layers, d_model]`, with mean zero over the texts.
        variance: Share of the variance, from 0 to 1.
    """
    import torch

    _, singular, components = torch.linalg.svd(centred.transpose(0, 1), full_matrices=False)
    share = (singular**2).cumsum(-1) / (singular**2).sum(-1, keepdim=True).clamp_min(1e-30)
    needed = (share < variance).sum(-1) + 1
    used = torch.arange(int(needed.max()), device=needed.device) < needed.unsqueeze(-1)
    kept: Tensor = components[:, : int(needed.max())] * used.unsqueeze(-1)
    return kept


def texts_digest(value: Any) -> str:
    """Compute the sha256 of texts in their order."""
    return hashlib.sha256(strict_json.canonical(list(value)).encode()).hexdigest()
