"""How far the weights of a model have come from the Hub."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emosteer._util.names import is_repo_id
from emosteer.demo.pairs import called
from emosteer.demo.work import Say, Step
from emosteer.errors import EmosteerError
from emosteer.models.loading import EMBEDDED, fetched, size_of

PACE = 0.5  # seconds between two looks

__all__ = ["watched"]


@contextmanager
def watched(model: str, say: Say) -> Iterator[None]:
    """Tell how far a model is that the block loads: fetched by so much, then read.

    Args:
        model: What it is loaded by.
        say: Is told.
    """
    reading = Step(f"Reading the weights of {called(model)}, half a minute the first time")
    say(reading)
    size, over = None, threading.Event()
    if model != EMBEDDED and is_repo_id(model) and not Path(model).exists():
        with suppress(EmosteerError):  # which loading it will run into, and tell
            size = size_of(model)

    def look() -> None:
        while size and not over.wait(PACE):
            share = fetched(model) / size
            with suppress(EmosteerError):  # stopped
                say(Step(f"Fetching the weights of {model}", share) if share < 1 else reading)

    looking = threading.Thread(target=look, name="fetching", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
