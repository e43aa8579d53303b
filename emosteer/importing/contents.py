"""What a reader returns, and what all readers have in common. Nothing in a foreign file is ever executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2**30
"""Largest file, and largest unpacked size: more than a hundred emotions of a model of 70 billion parameters."""

_CONVERT = (
    "If you trust where it comes from, convert it yourself, with what wrote it installed: import pickle, torch, "
    "safetensors.torch; vector = torch.load(FILE, weights_only=False), or pickle.load(open(FILE, 'rb')); {}"
)
_SAVE = "safetensors.torch.save_file({{f'layer.{{i}}': {} for i, v in {}.items()}}, 'NAME.safetensors')"
_LIBRARIES = {  # what a pickle names → how the object that it holds is converted
    b"ControlVector": "vector.export_gguf('NAME.gguf')",  # repeng
    b"SteeringVector": _SAVE.format("v.contiguous()", "vector.layer_activations"),  # steering-vectors
}
_OTHERS = f"with a vector for each layer i in `vectors`: {_SAVE.format('torch.as_tensor(v).contiguous()', 'vectors')}"

__all__ = ["MAX_BYTES", "Contents", "how_to_convert"]


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Args:
        arrays: Array by name, as the file names it.
        producer: The library that writes such files, or None if the format does not tell.
        model_type: The architecture that the file names, or None.
        declared: What else the file says of its vectors: field → text, number, or plain data.
    """

    arrays: dict[str, Tensor]
    producer: str | None = None
    model_type: str | None = None
    declared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def single(self) -> dict[str, Tensor]:
        """The arrays of one layer each, `[d_model]` or `[1, d_model]`."""
        return {key: array for key, array in self.arrays.items() if array.ndim == 1 or list(array.shape[:-1]) == [1]}


def how_to_convert(pickled: bytes) -> str:
    """Return the hint for a file that could execute code, for the library whose class is in it.

    Args:
        pickled: The pickle, which is searched and never read.
    """
    steps = next((steps for name, steps in _LIBRARIES.items() if name in pickled), _OTHERS)
    return _CONVERT.format(steps)
