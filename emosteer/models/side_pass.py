"""Side passes: passes of emosteer's own, which no tone steers, no monitor records and no dropout disturbs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from emosteer.models.presence import suspended

if TYPE_CHECKING:
    from torch import nn

__all__ = ["evaluating", "side_pass"]


@contextmanager
def side_pass(model: nn.Module) -> Iterator[None]:
    """Measure the plain model in a `with` block, in evaluation mode, whatever is in force around it.

    Args:
        model: The model that runs.
    """
    with suspended(), evaluating(model):
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Keep a model in evaluation mode in a `with` block, and leave the mode of each of its modules as it was.

    Threads may overlap: the modes are put back when the last of them leaves.

    Args:
        model: The model.
    """
    with _lock:
        # Set one by one: `model.eval()` would run what some modules do when they change their mode.
        trained = [module for module in model.modules() if module.training]
        count, put_back = _evaluated.get(model, (0, []))
        _evaluated[model] = count + 1, put_back + trained
        for module in trained:
            module.training = False
    try:
        yield
    finally:
        with _lock:
            count, put_back = _evaluated.pop(model)
            if count > 1:
                _evaluated[model] = count - 1, put_back
            else:
                for module in put_back:
                    module.training = True


_evaluated: WeakKeyDictionary[nn.Module, tuple[int, list[nn.Module]]] = WeakKeyDictionary()
_lock = threading.Lock()
