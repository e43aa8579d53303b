"""A long task that runs once, in a thread of its own, for any number of visitors who wait for it."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from emosteer.errors import EmosteerError, InputError

STOPPED = "This was stopped."

__all__ = ["Say", "Step", "Work"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """Progress of a task.

    Args:
        words: What is being done.
        share: Completed share, from 0 to 1, or None if it is unknown.
    """

    words: str
    share: float | None = None


Say = Callable[[Step], None]


class Work:
    """A task in a thread.

    Args:
        task: Called with a function that reports its steps. That function raises `InputError` once the work is stopped.
        first: The step that is shown before the task begins.
    """

    def __init__(self, task: Callable[[Say], None], first: str = "Starting") -> None:
        self._task = task
        self._changed = threading.Condition()
        self._begun = False
        self._over = False
        self.stopped = False
        self.step = Step(first)
        self.failure: Exception | None = None
        self.thread = threading.Thread(target=self._run, name="studio", daemon=True)

    def start(self) -> None:
        """Start the task, unless it has started."""
        with self._changed:
            if self._begun:
                return
            self._begun = True
        self.thread.start()

    def stop(self) -> None:
        """Stop the task at its next step, and the waiting for it at once."""
        with self._changed:
            self.stopped = True
            self._changed.notify_all()

    def watch(self) -> Iterator[Step]:
        """Yield the steps as they are reported, until the task is over.

        Raises:
            EmosteerError: The task failed, or was stopped.
        """
        seen: Step | None = None
        while True:
            with self._changed:
                while not (self._over or self.stopped) and self.step == seen:
                    self._changed.wait()
                if self._over:
                    break
                if self.stopped:  # the thread ends later, at its next step
                    raise InputError(STOPPED)
                seen = self.step
            yield seen
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            self._task(self._say)
        except Exception as error:  # raised again in the threads that watch
            if not isinstance(error, EmosteerError):
                _log.exception("The studio's work failed.")
            # Its frames would keep alive what has been loaded.
            failure = error.with_traceback(None)
            failure.__cause__ = failure.__context__ = None
        if failure is not None:
            gc.collect()
        with self._changed:
            self._over, self.failure = True, failure
            self._changed.notify_all()

    def _say(self, step: Step) -> None:
        if self.stopped:
            raise InputError(STOPPED)
        with self._changed:
            self.step = step
            self._changed.notify_all()
