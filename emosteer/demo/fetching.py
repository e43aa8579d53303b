"""Progress of the download of a model's weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emosteer._util.names import is_repo_id
from emosteer.demo.pairs import display_name
from emosteer.demo.work import Say, Step
from emosteer.errors import EmosteerError
from emosteer.hub.weights import downloaded_bytes, weight_bytes
from emosteer.models.loading import EMBEDDED

PACE = 0.5  # seconds between two reports

__all__ = ["watched"]


@contextmanager
def watched(model: str, say: Say) -> Iterator[None]:
    """Report the progress of a model that is loaded inside the block: first the download, then the reading.

    Args:
        model: Name that the model is loaded by.
        say: Function that the steps are reported to.
    """
    reading = Step(f"Reading the weights of {display_name(model)}, half a minute the first time")
    say(reading)
    size, over = None, threading.Event()
    if model != EMBEDDED and is_repo_id(model) and not Path(model).exists():
        with suppress(EmosteerError):  # which loading will raise too
            size = weight_bytes(model)

    def look() -> None:
        while size and not over.wait(PACE):
            share = downloaded_bytes(model) / size
            with suppress(EmosteerError):  # stopped
                say(Step(f"Fetching the weights of {model}", share) if share < 1 else reading)

    looking = threading.Thread(target=look, name="fetching", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
