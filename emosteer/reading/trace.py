"""Recording of emotion scores while a model runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from emosteer.errors import InputError
from emosteer.layers import decoder_layers, hidden_of
from emosteer.models import compile_stance
from emosteer.models.activations import sinks
from emosteer.models.presence import Presence, present, suspended
from emosteer.vectors.types import Readout

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

__all__ = ["Trace", "unrecorded"]


@contextmanager
def unrecorded() -> Iterator[None]:
    """Suspend all recording in a `with` block; tones stay in force."""
    with suspended(keep=[owner for owner in present() if not isinstance(owner, Trace)]):
        yield


class Trace:
    """A recorder of the scores of every token that a model reads in a `with` block.

    Only forward passes where the block holds (`emosteer.models.presence`) are recorded, and only by the innermost of
    nested blocks. Side passes are not, such as a reading inside the block, or those of a recipe.

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
        self._sinks: list[Tensor] = []
        self._weights: dict[tuple[int, Any], Tensor] = {}
        self._presence = Presence(self, "monitor")

    def __enter__(self) -> Self:
        blocks = decoder_layers(self._model)
        compile_stance.enter()
        first = min(self._readout.weights)
        for layer in sorted(self._readout.weights):
            # Appended after the steering hooks, which are prepended, to read the same stream as the next block.
            hook = partial(self._read, layer, layer == first)
            self._handles.append(blocks[layer].register_forward_hook(hook))
        self._presence.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._presence.leave()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        compile_stance.leave()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # a model copied inside the block carries the hooks along; they end with this block

    @property
    def scores(self) -> Tensor:
        """Scores of all passes so far, concatenated: `[rows, tokens, columns]`, float32 on the CPU.

        Raises:
            InputError: Passes of batches of different sizes were recorded.
        """
        import torch

        passes = list(self._passes)
        rows = list(dict.fromkeys(len(scores) for scores in passes))
        if len(rows) > 1:
            raise InputError(
                f"The monitor has recorded batches of {' and '.join(map(str, rows))} rows, which form no table.",
                "Open one monitor for each call.",
            )
        empty = torch.empty(1, 0, len(self._readout.bias), dtype=torch.float32, device="cpu")
        return torch.cat([scores.cpu() for scores in passes], 1) if passes else empty

    @property
    def sinks(self) -> Tensor:
        """Where the last pass had attention sinks in any of the layers: `[rows, tokens]`, on the CPU."""
        import torch

        shape = self._passes[-1].shape[:2]
        return torch.stack([*self._sinks, torch.zeros(shape, dtype=torch.bool, device="cpu")]).any(0)

    def _read(self, layer: int, first: bool, module: nn.Module, args: Any, output: Any) -> None:
        traces = [owner for owner in present() if isinstance(owner, Trace) and owner._model is self._model]
        if not traces or traces[-1] is not self:
            return
        hidden = hidden_of(output, module)
        key = layer, hidden.device
        if key not in self._weights:
            self._weights[key] = self._readout.weights[layer].to(hidden.device)
        values = hidden.detach().float()
        share = values @ self._weights[key]
        if first:
            self._passes.append(share + self._readout.bias.to(share.device))
            self._sinks.clear()
        else:
            self._passes[-1] += share.to(self._passes[-1].device)
        if values.shape[1] > 1:  # a token alone, while a model generates, has nothing to be compared with
            self._sinks.append(sinks(lengths := values.norm(dim=-1), lengths).cpu())
