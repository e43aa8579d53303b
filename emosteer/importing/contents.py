"""What a reader returns, and what all readers have in common. Nothing in a foreign file is ever executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2**30
"""Largest file, and largest unpacked size: more than a hundred emotions of a model of 70 billion parameters."""

CONVERT = (
    "If you trust where it comes from, convert it yourself, with what wrote it installed: import torch, "
    "safetensors.torch; vector = torch.load(FILE, weights_only=False), or pickle.load(open(FILE, 'rb')); "
    "safetensors.torch.save_file({f'layer.{i}': v.contiguous() for i, v in vector.layer_activations.items()}, "
    "'NAME.safetensors')"
)
"""Hint for files that could execute code."""

__all__ = ["CONVERT", "MAX_BYTES", "Contents"]


class Contents(NamedTuple):
    """What a file holds.

    Args:
        arrays: Array by name, as the file names it.
        producer: The library that writes such files, or None if the format does not tell.
        model_type: The architecture that the file names, or None.
    """

    arrays: dict[str, Tensor]
    producer: str | None = None
    model_type: str | None = None
