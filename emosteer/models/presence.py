"""Where an open `with` block holds: a tone that steers, a monitor that records.

Blocks act through hooks, which every pass of the model runs, whoever started it. What can be known of the code that
started a pass is its context, its thread and its call stack:

- A block holds in the thread or task that entered it, and in code that is given a copy of that context, as
  `asyncio.to_thread` and `contextvars.copy_context().run` do. Other threads and tasks have contexts of their own.
- A generator has no context of its own: it runs in that of whoever resumes it, which may be another thread each time,
  and its caller goes on in the same context while it is suspended. So a block that a generator opened holds wherever
  the generator is on the call stack, and does not hold in the code that iterates over it. A generator whose driver has
  returned may be a context manager (those of `contextlib` are known), so its block holds in the caller, with a warning.
- A block that was entered without `with`, in a thread, task or notebook cell that is over, holds nowhere: no context
  has it any more. The first pass that misses it warns.
"""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any
from weakref import ref

from emosteer.errors import InputError, warn

GENERATORS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR

__all__ = ["Presence", "present", "suspended"]


class _Mark:
    """What a context holds of a block, so that it can be told when no context holds it any more."""


class Presence:
    """Where a block holds.

    Args:
        owner: What the block puts in force.
        name: What messages call it: `"tone"`.
    """

    def __init__(self, owner: object, name: str) -> None:
        self.owner = owner
        self._name = name
        self._mark: ref[_Mark] | None = None  # None while the block is not open
        self._generator: FrameType | None = None
        self._driver = self._thread = 0
        self._warned = False

    def enter(self) -> None:
        """Open the block where the caller's caller is running."""
        mark = _Mark()
        self._mark, self._warned = ref(mark), False
        self._thread = threading.get_ident()
        self._generator, self._driver = _holder(sys._getframe(2))
        _entered.set((*_entered.get(), mark))
        _open.append(self)

    def leave(self) -> None:
        """Close the block, in whatever context."""
        if self._mark is not None:
            mark, self._mark, self._generator = self._mark(), None, None
            _entered.set(tuple(other for other in _entered.get() if other is not mark))
            _open.remove(self)

    def here(self) -> bool:
        """Return whether the block holds where this is called."""
        if self._mark is None or self in _suspended.get():
            return False
        if self._generator is not None and _on_the_stack(id(self._generator)):
            return True
        mark = self._mark()
        if mark is None and self._generator is None:
            self._warn(
                f"A {self._name} was entered in a thread, task or notebook cell that is over, so it holds nowhere. "
                "Open it with a `with` block around the calls that it is meant for."
            )
        if mark is None or mark not in _entered.get():
            return False
        if self._generator is not None and self._thread == threading.get_ident():
            if _on_the_stack(self._driver):
                return False
            self._warn(
                f"The generator {self._generator.f_code.co_name!r} is suspended with a {self._name} open, which holds "
                "in its caller meanwhile. If that is meant, make it a context manager with contextlib."
            )
        return True

    def __reduce__(self) -> Any:
        raise InputError(f"A model cannot be pickled while a {self._name} is open on it.", "Leave the block first.")

    def _warn(self, message: str) -> None:
        if not self._warned:
            self._warned = True
            warn(message)


_entered: ContextVar[tuple[_Mark, ...]] = ContextVar("emosteer_entered", default=())
_suspended: ContextVar[tuple[Presence, ...]] = ContextVar("emosteer_suspended", default=())
_open: list[Presence] = []  # in every thread and task, in the order in which they were entered


def present() -> tuple[Any, ...]:
    """Return what is in force where this is called, in the order in which it was entered."""
    return tuple(presence.owner for presence in tuple(_open) if presence.here())


@contextmanager
def suspended(*, keep: Sequence[object] = ()) -> Iterator[None]:
    """Suspend all open blocks in a `with` block; those that are entered inside hold.

    Args:
        keep: What stays in force.
    """
    outer = tuple(presence for presence in tuple(_open) if presence.owner not in keep)
    token = _suspended.set((*_suspended.get(), *outer))
    try:
        yield
    finally:
        _suspended.reset(token)


def _holder(frame: FrameType) -> tuple[FrameType | None, int]:
    """Return the frame of the generator that a block is entered in, if it is one, and the id of what resumed it.

    The context managers of `contextlib` hold their blocks for their caller.
    """

    def passes_on(frame: FrameType) -> bool:
        made = frame.f_code.co_flags & GENERATORS and frame.f_back is not None and _of_contextlib(frame.f_back)
        return bool(made) or _of_contextlib(frame)

    while frame.f_back is not None and passes_on(frame):
        frame = frame.f_back
    if not frame.f_code.co_flags & GENERATORS:
        return None, 0
    # The id, since the frame itself would keep the generator alive that is one of its variables.
    return frame, id(frame.f_back)


def _of_contextlib(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") == "contextlib"


def _on_the_stack(frame_id: int) -> bool:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and id(frame) != frame_id:
        frame = frame.f_back
    return frame is not None
