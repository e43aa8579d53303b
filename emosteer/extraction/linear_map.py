"""Linear maps between the residual streams of two models, fitted on texts that both read, and tests of such maps."""

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
"""Penalty of the ridge regression, in units of the mean squared singular value of the source's activations. Values from
0.3 to 1 make no difference on the development emotions of `make bench-transfer`."""

FOLDS = 5
"""Number of parts into which the emotions are divided; each is held out of one map."""

SEED = 0
"""Seed of the controls."""

Fit = Callable[["Tensor", "Tensor"], "Tensor"]

__all__ = ["FOLDS", "PENALTY", "SEED", "Fit", "HeldOut", "Reading", "held_out", "pushed", "ridge_map", "same_depth"]


@dataclass(frozen=True)
class Reading:
    """Activations of one model on the texts.

    Args:
        states: `[n_texts, n_layers, d_model]`, pooled activations.
        norms: `[n_layers]`, mean norm of the residual stream on neutral text.
        center: `[n_layers, d_model]`, mean activation on neutral text.
        basis: `[n_layers, k, d_model]`, principal components with half of the variance of neutral text.
        corpus: The texts.
    """

    states: Tensor
    norms: Tensor
    center: Tensor
    basis: Tensor
    corpus: Corpus

    @classmethod
    def of(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, corpus: Corpus, **options: Any) -> Reading:
        """Read the texts with a model; the options are those of `collect`."""
        states, norms = collect(model, tokenizer, corpus.passages, **options)
        center = states[corpus.neutral :].mean(0)
        basis = principal_components(states[corpus.neutral :] - center, NEUTRAL_VARIANCE)
        return cls(states, norms[corpus.neutral :].mean(0), center, basis, corpus)

    def contrasts(self, layer: int) -> Tensor:
        """Return the activations of one layer, `[n_texts, d_model]`, without the components of neutral text.

        Directions contain none of them, so a map need not fit them.
        """
        return without(self.states[:, layer], self.basis[layer])

    def directions(self, rows: Sequence[int]) -> Tensor:
        """Extract directions from some of the texts, `[n_emotions, n_layers, d_model]`."""
        return directions_from(self.states, rows, self.corpus, mean_difference, self.basis)


@dataclass(frozen=True)
class HeldOut:
    """Results for emotions whose texts had no part in the map.

    Args:
        cosines: Comparison → `[n_emotions, n_layers]`.

            - `cosine`: directions pushed through the map and those extracted from the target, from the same texts;
            - `shuffled_texts`, `random_map`: the same with a map fitted on texts paired at random, and a random map;
            - `halves`: pushed and extracted from different halves of the texts;
            - `ceiling`: both extracted from the target, from different halves of the texts.
        directions: `[n_emotions, n_layers, d_model]`, the pushed directions of `cosine`.
        r2: `[n_layers]`, share of the variance of the target's activations that the map predicts.
    """

    cosines: dict[str, Tensor]
    directions: Tensor
    r2: Tensor


def same_depth(layers: Sequence[int], of: int, depth: int) -> list[int]:
    """Return, for each layer of the target, the row of the source's layer that is nearest in relative depth.

    Args:
        layers: Layer of the source in each row.
        of: Number of layers of the source.
        depth: Number of layers of the target.
    """
    sources = [layer / max(1, of - 1) for layer in layers]
    targets = [layer / max(1, depth - 1) for layer in range(depth)]
    return [min(range(len(sources)), key=lambda row: abs(sources[row] - target)) for target in targets]


def ridge_map(source: Tensor, target: Tensor, *, penalty: float = PENALTY) -> Tensor:
    """Fit the matrix `[d_source, d_target]` that predicts the target's activations from the source's, both centred.

    Dimensions of the source are penalised in units of their own standard deviation: a few are very large in some
    models.

    Args:
        source: `[n_texts, d_source]`.
        target: `[n_texts, d_target]`.
        penalty: Penalty in units of the mean squared singular value of the standardised source.
    """
    import torch

    scale = source.std(0).double()
    scale[scale == 0] = 1
    x, y = (source - source.mean(0)).double() / scale, (target - target.mean(0)).double()
    wide = x.shape[1] > x.shape[0]  # then the dual problem is smaller
    gram = x @ x.T if wide else x.T @ x
    gram.diagonal().add_(penalty * gram.trace() / len(gram))
    factor = torch.linalg.cholesky(gram)
    matrix = x.T @ torch.cholesky_solve(y, factor) if wide else torch.cholesky_solve(x.T @ y, factor)
    return (matrix / scale.unsqueeze(-1)).to(target.dtype)


def pushed(directions: Tensor, matrix: Tensor, basis: Tensor) -> Tensor:
    """Map directions of the source, `[n, d_source]`, to unit directions of the target, `[n, d_target]`.

    Args:
        directions: Directions at one layer.
        matrix: `[d_source, d_target]`.
        basis: `[k, d_target]`, components that are projected out.
    """
    import torch

    return torch.nn.functional.normalize(without(directions @ matrix, basis), dim=-1)


def without(rows: Tensor, basis: Tensor) -> Tensor:
    """Project orthonormal components `[k, d]` out of rows `[n, d]`."""
    return rows - rows @ basis.T @ basis


def held_out(source: Reading, target: Reading, feeds: Sequence[int], fit: Fit = ridge_map) -> HeldOut:
    """Test a map by cross-validation: each part of the emotions is pushed through a map fitted on the others.

    Directions of two models from the same texts share the peculiarities of those texts, which flatters a map: models
    with random weights agree too. Directions from different halves of the texts do not have this bias.

    Args:
        source: Activations of the source.
        target: Activations of the target on the same texts.
        feeds: Row of the source for each layer of the target.
        fit: Function of both activations, `[n, d_source]` and `[n, d_target]`, that returns `[d_source, d_target]`.

    Raises:
        ConceptError: A model cannot tell the emotions apart by half of their texts.
    """
    import torch

    corpus = target.corpus
    labels = torch.tensor(corpus.labels, dtype=torch.long, device="cpu")
    generator = torch.Generator("cpu").manual_seed(SEED)
    first, second = corpus.halves
    sent, sent_half = source.directions(corpus.all), source.directions(first)
    native, native_half = target.directions(corpus.all), target.directions(second)
    arrived = {name: torch.empty_like(native) for name in ("cosine", "shuffled_texts", "random_map", "halves")}
    residual, total = source.states.new_zeros(len(feeds)), source.states.new_zeros(len(feeds))
    folds = [torch.arange(fold, len(corpus.emotions), FOLDS, device="cpu") for fold in range(FOLDS)]
    fitted = [~torch.isin(labels, out) for out in folds]
    shuffles = [torch.randperm(int(kept.sum()), generator=generator, device="cpu") for kept in fitted]
    for layer, row in enumerate(feeds):
        x, y, basis = source.contrasts(row), target.contrasts(layer), target.basis[layer]
        random = torch.randn(x.shape[1], y.shape[1], generator=generator, dtype=torch.float32, device="cpu")
        for out, kept, order in zip(folds, fitted, shuffles, strict=True):
            matrix = fit(x[kept], y[kept])
            for name, directions, by in (
                ("cosine", sent, matrix),
                ("shuffled_texts", sent, fit(x[kept], y[kept][order])),
                ("random_map", sent, random),
                ("halves", sent_half, matrix),
            ):
                arrived[name][out, layer] = pushed(directions[out, row], by, basis)
            true = y[~kept] - y[kept].mean(0)
            residual[layer] += (true - (x[~kept] - x[kept].mean(0)) @ matrix).square().sum()
            total[layer] += true.square().sum()
    cosines = {
        name: (directions * (native_half if name == "halves" else native)).sum(-1)
        for name, directions in arrived.items()
    }
    cosines["ceiling"] = (target.directions(first) * native_half).sum(-1)
    return HeldOut(cosines, arrived["cosine"], 1 - residual / total)
