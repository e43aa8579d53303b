"""A linear map between two models' residual streams, fitted on texts that both read, and what comes through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer.extraction.extractor import NEUTRAL_VARIANCE, Corpus, directions_from, principal_components
from emosteer.extraction.methods import mean_difference
from emosteer.models.activations import collect

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PENALTY = 0.5
"""Of the ridge regression, in units of the mean squared singular value of what the source reads. Between 0.3 and 1 it
makes no difference on the development emotions of `make bench-transfer`."""

FOLDS = 5
"""Into how many parts the emotions are divided; each is held out of one map."""

SEED = 0
"""Of the controls."""

Fit = Callable[["Tensor", "Tensor"], "Tensor"]

__all__ = ["FOLDS", "PENALTY", "SEED", "Fit", "HeldOut", "Reading", "held_out", "pushed", "ridge", "same_depth"]


@dataclass(frozen=True)
class Reading:
    """What one model reads in the texts.

    Args:
        states: `[n_texts, n_layers, d_model]`, pooled activations.
        norms: `[n_layers]`, mean norm of the residual stream on neutral text.
        center: `[n_layers, d_model]`, mean of neutral text.
        basis: `[n_layers, k, d_model]`, the principal components that carry half of its variance.
        corpus: The texts.
    """

    states: Tensor
    norms: Tensor
    center: Tensor
    basis: Tensor
    corpus: Corpus

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Corpus, **options: Any) -> Reading:
        """Let a model read; the options are those of `collect`."""
        states, norms = collect(model, tokenizer, corpus.passages, **options)
        center = states[corpus.neutral :].mean(0)
        basis = principal_components(states[corpus.neutral :] - center, NEUTRAL_VARIANCE)
        return cls(states, norms[corpus.neutral :].mean(0), center, basis, corpus)

    def contrasts(self, layer: int) -> Tensor:
        """The activations of one layer, `[n_texts, d_model]`, without the components of neutral text.

        Directions have none of them, and a map need not spend itself on them.
        """
        return without(self.states[:, layer], self.basis[layer])

    def directions(self, rows: Sequence[int]) -> Tensor:
        """Extracted from some of the texts: `[n_emotions, n_layers, d_model]`."""
        return directions_from(self.states, rows, self.corpus, mean_difference, self.basis)


@dataclass(frozen=True)
class HeldOut:
    """What came of emotions whose texts had no part in the map.

    Args:
        cosines: What was compared → `[n_emotions, n_layers]`.

            - `cosine`: directions pushed through the map with those extracted from the target, from the same texts;
            - `shuffled_texts`, `random_map`: the same with a map fitted on texts paired at random, and a random one;
            - `halves`: pushed and extracted from different halves of the texts;
            - `ceiling`: both extracted from the target, from different halves of the texts.
        directions: `[n_emotions, n_layers, d_model]`, those that `cosine` is of.
        r2: `[n_layers]`, share of the variance of the target's activations that the map predicts.
    """

    cosines: dict[str, Tensor]
    directions: Tensor
    r2: Tensor


def same_depth(layers: Sequence[int], of: int, depth: int) -> list[int]:
    """For each layer of the target, the row of the source's layer that is nearest in relative depth.

    Args:
        layers: Of the source, for each row that there is.
        of: How many layers the source has.
        depth: How many the target has.
    """
    places = [layer / max(1, of - 1) for layer in layers]
    wanted = [layer / max(1, depth - 1) for layer in range(depth)]
    return [min(range(len(places)), key=lambda row: abs(places[row] - place)) for place in wanted]


def ridge(given: Tensor, told: Tensor, *, penalty: float = PENALTY) -> Tensor:
    """The matrix `[d_source, d_target]` that predicts what the target reads from what the source reads, both centred.

    Dimensions of the source are penalised in units of their own spread: a few of them are very large in some models.

    Args:
        given: `[n_texts, d_source]`.
        told: `[n_texts, d_target]`.
        penalty: In units of the mean squared singular value of `given`, standardised.
    """
    import torch

    scale = given.std(0).double()
    scale[scale == 0] = 1
    x, y = (given - given.mean(0)).double() / scale, (told - told.mean(0)).double()
    wide = x.shape[1] > x.shape[0]  # then the dual problem is the smaller
    gram = x @ x.T if wide else x.T @ x
    gram.diagonal().add_(penalty * gram.trace() / len(gram))
    factor = torch.linalg.cholesky(gram)
    matrix = x.T @ torch.cholesky_solve(y, factor) if wide else torch.cholesky_solve(x.T @ y, factor)
    return (matrix / scale.unsqueeze(-1)).to(told.dtype)


def pushed(directions: Tensor, matrix: Tensor, basis: Tensor) -> Tensor:
    """Directions of the source, `[n, d_source]`, as unit directions of the target, `[n, d_target]`.

    Args:
        directions: Of one layer.
        matrix: `[d_source, d_target]`.
        basis: `[k, d_target]`, what is projected out.
    """
    import torch

    return torch.nn.functional.normalize(without(directions @ matrix, basis), dim=-1)


def without(rows: Tensor, basis: Tensor) -> Tensor:
    """Rows `[n, d]` with orthonormal components `[k, d]` projected out."""
    return rows - rows @ basis.T @ basis


def held_out(source: Reading, target: Reading, feeds: Sequence[int], fit: Fit = ridge) -> HeldOut:
    """Hold out a part of the emotions at a time, fit the map on the texts of the others, and see what comes through.

    From the same texts, two models' directions share what is odd about those texts, which flatters a map: two models
    with random weights agree too. From different halves they share as little as the two halves of the ceiling do.

    Args:
        source: What the source reads.
        target: What the target reads in the same texts.
        feeds: For each layer of the target, the row of the source.
        fit: From what the two read, `[n, d_source]` and `[n, d_target]`, to the matrix `[d_source, d_target]`.

    Raises:
        ConceptError: A model cannot tell the emotions apart by half of their texts.
    """
    import torch

    corpus = target.corpus
    labels, generator = torch.tensor(corpus.labels), torch.Generator().manual_seed(SEED)
    first, second = corpus.halves
    sent, sent_half = source.directions(corpus.all), source.directions(first)
    native, native_half = target.directions(corpus.all), target.directions(second)
    came = {what: torch.empty_like(native) for what in ("cosine", "shuffled_texts", "random_map", "halves")}
    missed, spread = torch.zeros(len(feeds)), torch.zeros(len(feeds))
    folds = [torch.arange(fold, len(corpus.emotions), FOLDS) for fold in range(FOLDS)]
    seen = [~torch.isin(labels, out) for out in folds]
    shuffles = [torch.randperm(int(kept.sum()), generator=generator) for kept in seen]
    for layer, row in enumerate(feeds):
        given, told, basis = source.contrasts(row), target.contrasts(layer), target.basis[layer]
        drawn = torch.randn(given.shape[1], told.shape[1], generator=generator)
        for out, kept, order in zip(folds, seen, shuffles, strict=True):
            matrix = fit(given[kept], told[kept])
            for what, directions, by in (
                ("cosine", sent, matrix),
                ("shuffled_texts", sent, fit(given[kept], told[kept][order])),
                ("random_map", sent, drawn),
                ("halves", sent_half, matrix),
            ):
                came[what][out, layer] = pushed(directions[out, row], by, basis)
            true = told[~kept] - told[kept].mean(0)
            missed[layer] += (true - (given[~kept] - given[kept].mean(0)) @ matrix).square().sum()
            spread[layer] += true.square().sum()
    cosines = {
        what: (found * (native_half if what == "halves" else native)).sum(-1) for what, found in came.items()
    } | {"ceiling": (target.directions(first) * native_half).sum(-1)}
    return HeldOut(cosines, came["cosine"], 1 - missed / spread)
