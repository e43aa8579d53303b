"""Recording of emotion scores while a model runs."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from emosteer.layers import decoder_layers, hidden_of
from emosteer.models import compile_stance
from emosteer.vectors.types import Readout

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

__all__ = ["Trace"]


class Trace:
    """A recorder of the scores of every token that a model reads in a `with` block.

    Only forward passes in the thread or task that opened the block are recorded, and only by the innermost of nested
    blocks, so a reading inside a block does not add to it.

    While a tone is in force, the scores include the steering itself. To score the words alone, read the finished text
    with the plain model.

    Args:
        readout: The readout.
        model: The model.
    """

    def __init__(self, readout: Readout, model: PreTrainedModel) -> None:
        self._readout, self._model = readout, model
        self._handles: list[RemovableHandle] = []
        self._passes: list[Tensor] = []
        self._weights: dict[tuple[int, Any], Tensor] = {}
        self._outer: Trace | None = None

    def __enter__(self) -> Self:
        blocks = decoder_layers(self._model)
        compile_stance.enter()
        first = min(self._readout.weights)
        for layer in sorted(self._readout.weights):
            # Appended after the steering hooks, which are prepended, to read the same stream as the next block.
            hook = partial(self._read, layer, layer == first)
            self._handles.append(blocks[layer].register_forward_hook(hook))
        self._outer = _open.get()
        _open.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        compile_stance.leave()
        _open.set(self._outer)

    @property
    def scores(self) -> Tensor:
        """Scores of all passes so far, concatenated: `[rows, tokens, columns]`, float32 on the CPU."""
        import torch

        empty = torch.empty(1, 0, len(self._readout.bias))
        return torch.cat([scores.cpu() for scores in self._passes], 1) if self._passes else empty

    def _read(self, layer: int, first: bool, module: nn.Module, args: Any, output: Any) -> None:
        if _open.get() is not self:
            return
        hidden = hidden_of(output, module)
        key = layer, hidden.device
        if key not in self._weights:
            self._weights[key] = self._readout.weights[layer].to(hidden.device)
        share = hidden.detach().float() @ self._weights[key]
        if first:
            self._passes.append(share + self._readout.bias.to(share.device))
        else:
            self._passes[-1] += share.to(self._passes[-1].device)


_open: ContextVar[Trace | None] = ContextVar("emosteer_trace", default=None)
"""The innermost trace of this thread or task."""
