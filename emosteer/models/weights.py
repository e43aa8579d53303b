"""The weights of a model at a glance: a few of their values, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from emosteer.layers import decoder_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from transformers import PreTrainedModel

VALUES = 16
"""Number of values that `sampled` reads of each tensor."""

__all__ = ["VALUES", "head_state", "modules_below", "sampled", "tensors_of"]


def modules_below(root: nn.Module, leave_out: nn.Module | None = None) -> list[nn.Module]:
    """Return a module and all below it, in a fixed order and several times faster than `root.modules()`.

    Args:
        root: The module.
        leave_out: A module below it that is not entered.
    """
    found: list[nn.Module] = []
    waiting: list[nn.Module | None] = [root]
    while waiting:
        if (module := waiting.pop()) is not None and module is not leave_out:
            found.append(module)
            waiting.extend(module._modules.values())
    return found


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return the parameters and buffers of modules."""
    found: list[Tensor | None] = []
    for module in modules:
        if module._parameters:
            found.extend(module._parameters.values())
        if module._buffers:
            found.extend(module._buffers.values())
    return [tensor for tensor in found if tensor is not None]


def sampled(tensors: Sequence[Tensor]) -> list[bytes]:
    """Return `VALUES` values of each tensor, spread over it and rounded to bfloat16, as little-endian bytes.

    The values of all tensors on a device are fetched at once.
    """
    import torch

    found: list[bytes] = [b""] * len(tensors)
    devices: dict[torch.device, list[int]] = {}
    for place, tensor in enumerate(tensors):
        devices.setdefault(tensor.device, []).append(place)
    with torch.no_grad():
        for device, places in devices.items():
            values = torch.cat([tensors[place].take(_indices(tensors[place].numel(), device)) for place in places])
            rows = values.to(torch.bfloat16).cpu().view(torch.int16).numpy().astype("<i2").reshape(-1, VALUES)
            for place, row in zip(places, rows, strict=True):
                found[place] = row.tobytes()
    return found


@lru_cache(maxsize=256)
def _indices(length: int, device: torch.device) -> Tensor:
    import torch

    indices = torch.linspace(0, length - 1, VALUES, dtype=torch.float32, device="cpu").long()
    return indices.clamp(max=length - 1).to(device)  # float32 may round up


def head_state(model: PreTrainedModel) -> object:
    """Return what stays equal while the model makes the same logits of the stream after its last block.

    For every module outside the blocks, these are its tensors (where they are, how often they were written to, and a
    few of their values, because a write through `tensor.data` is not counted), its hooks, and its plain attributes,
    which say for example which adapter is active.

    Args:
        model: The model.
    """
    import torch

    blocks = decoder_layers(model)
    modules = modules_below(model, blocks)
    tensors = tensors_of(modules)
    floats = torch.float64, torch.float32, torch.bfloat16, torch.float16
    readable = [t for t in tensors if t.dtype in floats and t.device.type != "meta" and t.numel()]
    values = sampled([t for t in readable if type(t.detach()) is torch.Tensor])
    above: set[nn.Module] = set()  # modules that hold the blocks; their hooks see more than the head
    for module in reversed(modules):
        if any(child is blocks or child in above for child in module._modules.values()):
            above.add(module)
    hooks = [(*m._forward_hooks, None, *m._forward_pre_hooks) for m in modules if m not in above]
    attributes = [
        {name: repr(value) for name, value in vars(module).items() if name not in _common() and _is_plain(value)}
        for module in modules
    ]
    return [*map(id, modules)], [_place(tensor) for tensor in tensors], values, hooks, attributes


def _place(tensor: Tensor) -> tuple[object, ...]:
    try:
        pointer = tensor.data_ptr()
    except RuntimeError:  # a tensor that wraps others
        pointer = id(tensor)
    written = None if tensor.is_inference() else tensor._version
    return pointer, written, tensor.dtype, tensor.device, tensor.shape


@cache
def _common() -> frozenset[str]:
    """Names of the attributes of every module."""
    from torch import nn

    return frozenset(vars(nn.Module()))


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, (list, tuple, set)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
