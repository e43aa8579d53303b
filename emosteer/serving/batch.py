"""A batch whose rows come and go: each begins with a pass of its own, then all go on token by token together.

Rows of different lengths are padded on the left, where the mask hides what no row has said, and every row counts its
own positions.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emosteer.errors import IncompatibleModelError
from emosteer.layers import input_device
from emosteer.models.token_positions import CACHES

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["Batch", "most_rows"]


class Batch:
    """Rows that a model goes on with together.

    Args:
        model: The model.
        joining: Whether rows may join others, for which their caches have to be lists of keys and values.
    """

    def __init__(self, model: PreTrainedModel, *, joining: bool = True) -> None:
        self._model, self._joining = model, joining
        self._device = input_device(model)
        self._takes = inspect.signature(model.forward).parameters
        self._cache: dict[str, Any] = {}  # by the name that the model gives it
        self._mask: Tensor | None = None  # `[rows, tokens]`, 0 for padding

    def begin(self, ids: Sequence[int]) -> tuple[Tensor, dict[str, Any]]:
        """Run a prompt, and return the scores `[1, vocabulary]` of what follows it, and its cache for `join`."""
        import torch
        from transformers import DynamicCache

        cache = {"past_key_values": DynamicCache()} if self._joining else {}
        tokens = torch.tensor([list(ids)], device=self._device)
        return self._run(tokens, torch.ones_like(tokens), cache)

    def join(self, cache: dict[str, Any], length: int) -> None:
        """Add a row that has begun, behind the others.

        Args:
            cache: From `begin`.
            length: Tokens of its prompt.
        """
        import torch

        mask = torch.ones((1, length), dtype=torch.long, device=self._device)
        if self._mask is None:
            self._cache, self._mask = cache, mask
            return
        longest = max(length, self._mask.shape[1])
        self._mask = torch.cat([_padded(self._mask, longest, 1), _padded(mask, longest, 1)])
        for layer, new in zip(_layers(self._cache), _layers(cache), strict=True):
            layer.keys, layer.values = (
                torch.cat([_padded(old, longest, 2), _padded(more, longest, 2)])
                for old, more in ((layer.keys, new.keys), (layer.values, new.values))
            )

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Run one more token of each row, and return the scores `[rows, vocabulary]` of what follows."""
        import torch

        assert self._mask is not None
        ids = torch.tensor([[token] for token in tokens], device=self._device)
        self._mask = torch.cat([self._mask, torch.ones_like(ids)], 1)
        scores, self._cache = self._run(ids, self._mask, self._cache)
        return scores

    def keep(self, rows: Sequence[int]) -> None:
        """Let all rows go but these, and with them the padding that nobody needs any more."""
        import torch

        if not rows or self._mask is None:
            self._cache, self._mask = {}, None
            return
        if not self._joining:
            return
        kept = torch.tensor(rows, device=self._device)
        mask = self._mask[kept]
        start = int(mask.shape[1] - mask.sum(1).max())
        self._mask = mask[:, start:]
        for layer in _layers(self._cache):
            layer.keys, layer.values = (
                tensor[kept.to(tensor.device), :, start:].contiguous() for tensor in (layer.keys, layer.values)
            )

    def _run(self, ids: Tensor, mask: Tensor, cache: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        options: dict[str, Any] = {"use_cache": True, **cache}
        if self._joining:  # else there is no padding, and recurrent models may take a mask for that of this pass
            options["attention_mask"] = mask
        if "position_ids" in self._takes:
            options["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        if "logits_to_keep" in self._takes:
            options["logits_to_keep"] = 1
        output = self._model(input_ids=ids, **options)
        return output.logits[:, -1].float(), {
            name: getattr(output, name) for name in CACHES if getattr(output, name, None) is not None
        }


def most_rows(model: PreTrainedModel, wanted: int) -> int:
    """Return how many rows a model can go on with together: as many as wanted, or one, for recurrent models say.

    It is tried out on a few tokens, against passes that read all of them anew.

    Raises:
        IncompatibleModelError: Not even one row goes on as it should.
    """
    if wanted > 1 and _right(model, joining=True):
        return wanted
    if _right(model, joining=False):
        return 1
    raise IncompatibleModelError(
        f"{type(model).__name__} does not go on from its cache as it reads a text anew.",
        "Use generate() of SteeredModel with it.",
    )


def _right(model: PreTrainedModel, *, joining: bool) -> bool:
    """Return whether a batch gives the scores of passes over each row alone."""
    import torch

    size = int(model.config.get_text_config(decoder=True).vocab_size)
    texts = [[(7 * place + 11 * row + 5) % size for place in range(length)] for row, length in enumerate((5, 9, 3))]
    texts = texts if joining else texts[:1]
    batch = Batch(model, joining=joining)
    try:
        for text in texts:
            batch.join(batch.begin(text[:-2])[1], len(text) - 2)
        batch.step([text[-2] for text in texts])
        if joining:  # the longest leaves
            batch.keep([0, 2])
            texts = [texts[0], texts[2]]
        scores = batch.step([text[-1] for text in texts])
        device = input_device(model)
        alone = torch.cat([model(input_ids=torch.tensor([text], device=device)).logits[:, -1] for text in texts])
    except (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return False  # a cache of another kind
    tolerance = math.sqrt(torch.finfo(alone.dtype).eps) * float(alone.abs().max())
    return bool((scores - alone.float()).abs().max() <= tolerance)


def _layers(cache: dict[str, Any]) -> list[Any]:
    """Return the layers of a cache that hold something; some share that of others."""
    return [layer for layer in cache["past_key_values"].layers if layer.is_initialized]


def _padded(tensor: Tensor, length: int, axis: int) -> Tensor:
    """Return a tensor with zeros before its elements along an axis."""
    from torch.nn.functional import pad

    missing = length - tensor.shape[axis]
    return pad(tensor, (*(0, 0) * (tensor.dim() - 1 - axis), missing, 0)) if missing else tensor
