"""Eager execution while hooks are in use, because code compiled by torch bypasses them.

The stance applies to the whole process, so entries are counted and the last one to leave restores it.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["enter", "leave"]

_lock = threading.Lock()
_stances: list[Any] = []  # one per entry; the first is the context manager from torch that restores the stance


def enter() -> None:
    """Make torch run eagerly until the matching `leave`."""
    import torch

    with _lock:
        _stances.append(None if _stances else torch.compiler.set_stance("force_eager"))


def leave() -> None:
    """Undo one `enter`; the last one lets torch compile again."""
    with _lock:
        if len(_stances) > 1:
            _stances.pop()
        else:
            _stances.pop().__exit__(None, None, None)
