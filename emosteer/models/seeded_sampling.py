"""Seeded sampling that leaves the global random state of torch alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emosteer._util.numbers import checked_seed
from emosteer.layers import input_device

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["drawing"]

_lock = threading.Lock()  # torch has one random state for all threads


@contextmanager
def drawing(seed: int | None, model: PreTrainedModel, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield options for `generate` that make it sample from a random state of its own; unchanged without a seed.

    The state replaces the global one, under a lock, between a step's logits and the token drawn from them. Seeded
    answers generated at the same time therefore do not affect each other, nor anything else that draws random numbers.

    Args:
        seed: The seed, or None.
        model: The model that generates.
        options: Options for `generate`.

    Raises:
        InputError: The seed is none.
    """
    import torch

    if seed is None:
        yield options
        return
    seed = checked_seed(seed, least=-(2**63))
    device = input_device(model)
    # An accelerator (CUDA, XPU, MPS, …) has a random state of its own.
    accelerators = [] if device.type == "cpu" else [torch.get_device_module(device)]
    which = [] if device.type == "mps" else [device]  # there is only one of that kind

    def state() -> list[Tensor]:
        return [torch.get_rng_state(), *(module.get_rng_state(*which) for module in accelerators)]

    def put(states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for module, own_state in zip(accelerators, states[1:], strict=True):
            module.set_rng_state(own_state, *which)

    devices = [torch.device("cpu"), *(device for _ in accelerators)]
    own = [torch.Generator(source).manual_seed(seed).get_state() for source in devices]
    outer: list[list[Tensor]] = []  # the global state, while it is replaced

    def restore() -> None:
        if outer:
            own[:] = state()
            put(outer.pop())
            _lock.release()

    def before(_ids: Tensor, scores: Tensor) -> Tensor:
        if not outer:  # assisted decoding computes the logits of several tokens before it draws
            _lock.acquire()
            outer.append(state())
            put(own)
        return scores

    def after(ids: Tensor, _scores: Tensor) -> Tensor:
        restore()
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    processors, criteria = options.get("logits_processor") or (), options.get("stopping_criteria") or ()
    drawn = {**options, "logits_processor": [*processors, before], "stopping_criteria": [after, *criteria]}
    if drawn.get("streamer") is not None:  # some versions of transformers stream a token before they check the criteria
        drawn["streamer"] = _Restoring(drawn["streamer"], restore)
    try:
        yield drawn
    finally:
        restore()  # generation may have stopped between the two


class _Restoring:
    """A streamer that restores the global random state before it passes tokens on."""

    def __init__(self, streamer: Any, restore: Callable[[], None]) -> None:
        self._streamer, self._restore = streamer, restore

    def put(self, value: Tensor) -> None:
        self._restore()
        self._streamer.put(value)

    def end(self) -> None:
        self._streamer.end()
