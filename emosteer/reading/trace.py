"""Scores of every token that a model reads while a `with` block is open."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from types import TracebackType
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
    """Records scores of every token that a model reads in a `with` block, steered or not, generated or not.

    It hears only what runs in the thread or task that opened the block. Of nested blocks, only the innermost hears a
    pass, so a reading inside the block is not recorded.

    Where a tone is in force, the stream that is read has it in it: what the words alone carry is what the plain model
    reads in the finished text.

    Args:
        readout: What to read.
        model: Where.
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
            # Behind the hooks that steer, which stand first in line: what is read is what the next block reads.
            hook = partial(self._read, layer, layer == first)
            self._handles.append(blocks[layer].register_forward_hook(hook))
        self._outer = _open.get()
        _open.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        compile_stance.leave()
        _open.set(self._outer)

    @property
    def scores(self) -> Tensor:
        """`[rows, tokens, columns]`, float32 on the CPU, of all passes so far, one after the other."""
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
