"""The engine: one thread that runs the model for everybody, and writes what is asked for as rows of one batch.

A request joins as soon as a row is free, with a pass over its prompt. Rows that have ended, or whose client has gone,
leave after the step. So nobody waits for anybody else's answer to end, and every row is as it would be alone.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from emosteer.errors import EmosteerError, InputError, warn
from emosteer.models.side_pass import evaluating
from emosteer.serving.batch import Batch, most_rows
from emosteer.serving.rows import Job, Row
from emosteer.serving.tones import RowTones, together

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

ROWS = 16
QUEUE = 64

Kind = TypeVar("Kind")

__all__ = ["BusyError", "Ended", "Engine", "Event", "Running"]

_log = logging.getLogger(__name__)


class BusyError(EmosteerError, RuntimeError):
    """A server with more requests than it can hold, or one that is being stopped."""


@dataclass(frozen=True)
class Ended:
    """The end of an answer.

    Args:
        reason: `"stop"` or `"length"`.
        tokens: Number of its tokens.
    """

    reason: str
    tokens: int


Event = str | Ended | Exception
"""A piece of an answer, its end, or what went wrong instead."""


@dataclass(eq=False)
class Running:
    """A request in the engine's hands.

    Args:
        job: What is asked.
        tell: Called in the engine's thread with each event; must not wait.
        gone: Whether nobody listens any more.
    """

    job: Job
    tell: Callable[[Event], None]
    gone: bool = False
    row: Row | None = field(default=None, repr=False)


class Engine:
    """A model that answers many requests at once, while the `with` block is open.

    Args:
        steered: The model with its vectors. Nobody else should run it meanwhile.
        rows: Most answers that are written at once.
        queue: Most requests that wait for a row.

    Raises:
        IncompatibleModelError: The model cannot go on token by token.
        InputError: A number is below 1.
    """

    def __init__(self, steered: SteeredModel, *, rows: int = ROWS, queue: int = QUEUE) -> None:
        if rows < 1 or queue < 1:
            raise InputError(f"There are {rows} rows and a queue of {queue}, expected 1 or more of each.")
        import torch

        self.steered = steered
        with torch.no_grad(), evaluating(steered.model):
            self.rows = most_rows(steered.model, rows)
        if self.rows < rows:
            warn("Rows of this model cannot be joined, so requests are answered one after another.")
        self._most_waiting = queue
        self._batch = Batch(steered.model, joining=self.rows > 1)
        self._running: list[Running] = []
        self._waiting: deque[Running | _Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="emosteer-engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether requests are being answered."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a row."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Number of answers that are being written."""
        return len(self._running)

    def submit(self, job: Job, tell: Callable[[Event], None]) -> Running:
        """Ask for an answer.

        Args:
            job: What is asked.
            tell: Called in the engine's thread with each piece, and at last with the end or an error; must not wait.

        Raises:
            BusyError: Too many requests are waiting, or the engine is being stopped.
        """
        running = Running(job, tell)
        self._enqueue(running)
        return running

    def cancel(self, running: Running) -> None:
        """Let a request go that nobody listens to any more."""
        with self._changed:
            running.gone = True
            if running in self._waiting:
                self._waiting.remove(running)

    def call(self, function: Callable[[], Kind]) -> Future[Kind]:
        """Run a function between two steps, in the thread that has the model.

        Raises:
            BusyError: As for `submit`.
        """
        call = _Call(function)
        self._enqueue(call)
        return call.future

    def _enqueue(self, item: Running | _Call) -> None:
        with self._changed:
            if not self.alive:
                raise BusyError("The server is being stopped.", "Ask again in a moment.")
            if len(self._waiting) >= self._most_waiting:
                raise BusyError(f"{self._most_waiting} requests are waiting already.", "Ask again in a moment.")
            self._waiting.append(item)
            self._changed.notify_all()

    def _run(self) -> None:
        import torch

        steered = self.steered
        try:
            with torch.no_grad(), evaluating(steered.model), RowTones(steered.model, steered.vectors.layers) as tones:
                while (items := self._next()) is not None:
                    for item in items:
                        item.run() if isinstance(item, _Call) else self._begin(item, tones)
                    self._leave()
                    if self._running:
                        self._step(tones)
        finally:
            with self._changed:
                self._closed = True
                left = [*self._running, *self._waiting]
                self._waiting.clear()
            for item in left:
                item.tell(BusyError("The server was stopped.", "Ask again in a moment."))

    def _next(self) -> list[Running | _Call] | None:
        """Return what is to begin now, once there is anything to do; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting or self._running)
            if self._closed:
                return None
            items: list[Running | _Call] = []
            while self._waiting and len(self._running) + len(items) < self.rows:
                items.append(self._waiting.popleft())
            return items

    def _begin(self, running: Running, tones: RowTones) -> None:
        """Read a prompt, write the first token, and join the batch."""
        if running.gone:
            return
        try:
            row = running.row = Row(self.steered, running.job)
            with tones.adding({layer: delta.unsqueeze(0) for layer, delta in row.prompt_deltas().items()}):
                scores, cache = self._batch.begin(running.job.prompt)
            self._take(running, row, scores)
            if row.reason is None:
                self._batch.join(cache, len(running.job.prompt))
                self._running.append(running)
        except Exception as error:  # of this request, which must not end the others'
            self._fail([running], error)

    def _step(self, tones: RowTones) -> None:
        """Write one more token of every row."""
        rows = [running.row for running in self._running if running.row]
        try:
            with tones.adding(together([row.deltas() for row in rows], self.steered.model.device)):
                scores = self._batch.step([row.last for row in rows])
        except Exception as error:  # out of memory, for example
            failed, self._running = self._running, []
            self._batch.keep([])
            self._fail(failed, error)
            return
        for i, (running, row) in enumerate(zip(self._running, rows, strict=True)):
            try:
                self._take(running, row, scores[i : i + 1])
            except Exception as error:  # of this request alone
                running.gone = True
                self._fail([running], error)

    def _take(self, running: Running, row: Row, scores: Any) -> None:
        piece = row.take(scores)
        if piece:
            running.tell(piece)
        if row.reason is not None:
            running.tell(Ended(row.reason, row.tokens))

    def _leave(self) -> None:
        """Let rows go that have ended, or whose client has."""
        kept = [i for i, one in enumerate(self._running) if not one.gone and one.row and one.row.reason is None]
        if len(kept) < len(self._running):
            self._running = [self._running[i] for i in kept]
            self._batch.keep(kept)

    def _fail(self, failed: list[Running], error: Exception) -> None:
        if not isinstance(error, EmosteerError):
            _log.exception("A request failed.")
        for running in failed:
            running.tell(error.with_traceback(None))  # whose frames would keep the row alive


class _Call:
    """A function that waits for the engine's thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self.future: Future[Any] = Future()

    def run(self) -> None:
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self._function())
            except Exception as error:  # for whoever waits
                self.future.set_exception(error)

    def tell(self, error: BusyError) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)
