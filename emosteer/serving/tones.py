"""Tones of the rows of a pass: every row has a tone and a place in its answer of its own.

`emosteer.steering.hooks` gives a tone to whatever runs inside a `with` block, where all rows of a batch began
together. Rows of a server come and go, so here each pass is told what to add to each of its rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from emosteer.layers import decoder_layers, hidden_of, with_hidden
from emosteer.models import compile_stance
from emosteer.steering.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

__all__ = ["RowTones", "together"]

Deltas = Mapping[int, "Tensor"]
"""Layer → what is added after it, `[rows, tokens or 1, d_model]`."""


class RowTones:
    """Hooks on a model that add what each pass is told, in the thread that told it.

    Args:
        model: The model.
        layers: Layers after which a tone may be added.
    """

    def __init__(self, model: PreTrainedModel, layers: Sequence[int]) -> None:
        self._model, self._layers = model, layers
        self._pass = threading.local()
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        compile_stance.enter()  # compiled code bypasses hooks
        blocks = decoder_layers(self._model)
        self._handles = [
            blocks[layer].register_forward_hook(partial(self._after, layer), prepend=True) for layer in self._layers
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        compile_stance.leave()

    @contextmanager
    def adding(self, deltas: Deltas) -> Iterator[None]:
        """Add deltas in the passes of a `with` block."""
        self._pass.deltas = deltas
        try:
            yield
        finally:
            del self._pass.deltas

    def _after(self, layer: int, module: nn.Module, args: Any, output: Any) -> Any:
        delta = getattr(self._pass, "deltas", {}).get(layer)
        if delta is None:
            return None
        hidden = hidden_of(output, module)
        return with_hidden(output, hidden + delta.to(hidden), module)


def deltas_at(plan: Plan, positions: Sequence[float], *, sink: bool) -> dict[int, Tensor]:
    """Return what a plan for one row adds: layer → `[tokens or 1, d_model]`.

    Args:
        plan: The plan.
        positions: Of the tokens, relative to the first of the answer.
        sink: Whether the first of them is the attention sink, which is never steered.
    """
    import torch

    if not plan.sites:
        return {}
    if plan.steady and not sink:
        return {layer: delta.unsqueeze(0) for layer, delta in plan.deltas.items()}
    gains = plan.gains(torch.tensor(positions, dtype=torch.float32, device="cpu"))
    if sink:
        gains[0] = 0
    if not bool(gains.any()):
        return {}
    return {layer: gains @ site.vectors[0] for layer, site in plan.sites.items()}


def together(rows: Sequence[Mapping[int, Tensor]], device: Any) -> dict[int, Tensor]:
    """Return what several rows add `[1, d_model]` each as that of a batch, `[rows, 1, d_model]`, on a device."""
    import torch

    layers = sorted(set().union(*rows))
    if not layers:
        return {}
    nothing = torch.zeros_like(next(delta for row in rows for delta in row.values()))
    return {layer: torch.stack([row.get(layer, nothing) for row in rows]).to(device) for layer in layers}
