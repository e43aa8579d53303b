"""Seeds that repeat an answer without touching the global random state of torch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emosteer.layers import input_device

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

__all__ = ["drawing"]

_one_draws = threading.Lock()  # torch has one random state for all threads


@contextmanager
def drawing(seed: int | None, model: PreTrainedModel, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Options for generate with which it draws from a random state of its own; for no seed, the options as they are.

    The state is put in place of the global one between a step's logits and the token drawn from them, and taken out
    again, under a lock. Seeded answers that are made at once do not disturb each other, nor what their readers draw.
    """
    import torch

    if seed is None:
        yield options
        return
    device = input_device(model)
    on_cuda = device.type == "cuda"

    def state() -> list[Tensor]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if on_cuda else [])]

    def put(states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        if on_cuda:
            torch.cuda.set_rng_state(states[1], device)

    places = [torch.device("cpu"), *([device] if on_cuda else [])]
    own = [torch.Generator(place).manual_seed(seed).get_state() for place in places]
    outer: list[list[Tensor]] = []  # holds the global state while ours is in its place

    def restore() -> None:
        if outer:
            own[:] = state()
            put(outer.pop())
            _one_draws.release()

    def before(_ids: Tensor, scores: Tensor) -> Tensor:
        if not outer:  # assisted decoding asks for several tokens' logits before it draws
            _one_draws.acquire()
            outer.append(state())
            put(own)
        return scores

    def after(ids: Tensor, _scores: Tensor) -> Tensor:
        restore()
        return torch.zeros(ids.shape[0], dtype=torch.bool, device=ids.device)

    processors, criteria = options.get("logits_processor", ()), options.get("stopping_criteria", ())
    drawn = {**options, "logits_processor": [*processors, before], "stopping_criteria": [after, *criteria]}
    if "streamer" in drawn:  # some versions of transformers hand a token over before they ask the criteria
        drawn["streamer"] = _Restoring(drawn["streamer"], restore)
    try:
        yield drawn
    finally:
        restore()  # generation may have ended between the two


class _Restoring:
    """A streamer before which the global random state is put back."""

    def __init__(self, streamer: Any, restore: Callable[[], None]) -> None:
        self._streamer, self._restore = streamer, restore

    def put(self, value: Tensor) -> None:
        self._restore()
        self._streamer.put(value)

    def end(self) -> None:
        self._streamer.end()
