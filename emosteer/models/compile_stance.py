"""Compiled code passes hooks by, so while any model is listened to or steered torch runs everything eagerly.

The stance is the whole process's, so entries are counted and the last to leave puts it back.
"""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["enter", "leave"]

_lock = threading.Lock()
_stances: list[Any] = []  # one for everyone inside; the first is what torch gave back, which ends it


def enter() -> None:
    """Begin to run eagerly, or go on."""
    import torch

    with _lock:
        _stances.append(None if _stances else torch.compiler.set_stance("force_eager"))


def leave() -> None:
    """Undo one `enter`; after the last, torch compiles again."""
    with _lock:
        if len(_stances) > 1:
            _stances.pop()
        else:
            _stances.pop().__exit__(None, None, None)
