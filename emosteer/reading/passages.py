"""Reading many finished texts at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from emosteer.errors import InputError
from emosteer.models.activations import Passage, collect, encode

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.types import Readout

BATCH = 32

__all__ = ["read_passages"]


def read_passages(
    readout: Readout,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    passages: Sequence[str | Passage],
    *,
    progress: bool = False,
) -> Tensor:
    """Return the mean scores of passages over their content tokens, read with the plain model.

    Args:
        readout: A readout fitted to the model.
        model: The model.
        tokenizer: Its tokenizer.
        passages: Texts, or passages of texts.
        progress: Whether to show progress on standard error, as for `collect`.

    Returns:
        `[n_passages, columns]`, in standard deviations of neutral text; NaN where there is nothing to read.
    """
    import torch

    legible = []
    for i, passage in enumerate(passages):
        with suppress(InputError):
            encode(tokenizer, passage, model, "The passage")
            legible.append(i)
    scores = torch.full((len(passages), len(readout.bias)), torch.nan, dtype=torch.float32, device="cpu")
    if legible:
        layers = tuple(readout.weights)
        texts = [passages[i] for i in legible]
        states = collect(model, tokenizer, texts, layers=layers, batch_size=BATCH, progress=progress).states
        weights = torch.stack([readout.weights[layer] for layer in layers])
        scores[legible] = torch.einsum("nld,ldc->nc", states, weights) + readout.bias
    return scores
