"""The loop's side of a request that the engine's thread answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from emosteer.serving.engine import Ended, Engine, Event
from emosteer.serving.metrics import Metrics
from emosteer.serving.rows import Job

if TYPE_CHECKING:
    from starlette.requests import Request

Kind = TypeVar("Kind")

__all__ = ["Listening", "unless_gone"]


class Listening(AsyncIterator["str | Ended"]):
    """An iterator over the pieces of an answer and its end.

    Args:
        engine: Answers.
        job: What is asked.
        metrics: Counts the answer.

    Raises:
        BusyError: The engine takes no more requests.
    """

    def __init__(self, engine: Engine, job: Job, metrics: Metrics) -> None:
        loop = asyncio.get_running_loop()

        def tell(event: Event) -> None:
            with suppress(RuntimeError):  # the loop is closed once the server has been stopped
                loop.call_soon_threadsafe(self._events.put_nowait, event)

        self._engine, self._job, self._metrics = engine, job, metrics
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._first: str | Ended | None = None
        self._over = False
        self._running = engine.submit(job, tell)

    async def begun(self) -> None:
        """Wait for the first piece, which comes again when this is iterated over.

        Raises:
            EmosteerError: The answer cannot be given.
        """
        self._first = await self._next()
        self._metrics.taken(self._job.tone)

    async def __anext__(self) -> str | Ended:
        if self._first is not None:
            event, self._first = self._first, None
            return event
        if self._over:
            raise StopAsyncIteration
        return await self._next()

    def leave(self) -> None:
        """Let the engine know that nobody listens any more, unless the answer has ended."""
        if not self._over:
            self._over = True
            self._engine.cancel(self._running)
            self._count("gone", self._running.row.tokens if self._running.row else 0)

    async def _next(self) -> str | Ended:
        event = await self._events.get()
        if isinstance(event, Exception):
            self._over = True
            raise event
        if isinstance(event, Ended):
            self._over = True
            self._count(event.reason, event.tokens)
        return event

    def _count(self, reason: str, tokens: int) -> None:
        self._metrics.ended(reason, len(self._job.prompt), tokens, steered=bool(self._job.tone))


async def unless_gone(request: Request, answer: Awaitable[Kind]) -> Kind:
    """Wait for an answer to a request whose body has been read.

    Raises:
        ClientDisconnect: The client has closed the connection meanwhile.
    """
    from starlette.requests import ClientDisconnect

    async def closed() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    waiting, gone = asyncio.ensure_future(answer), asyncio.ensure_future(closed())
    try:
        await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            raise ClientDisconnect
        return waiting.result()
    finally:
        waiting.cancel()
        gone.cancel()
