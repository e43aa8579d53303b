"""Loading models, which takes minutes where they are fetched first: a spinner, or in a log one line a minute."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emosteer._util.names import is_repo_id
from emosteer._util.progress import Meter
from emosteer.cli import printing
from emosteer.errors import EmosteerError
from emosteer.models.loading import EMBEDDED

PACE = 1.0
"""Seconds between two looks at what has come."""

MB = 10**6

__all__ = ["loading"]


@contextmanager
def loading(*models: str) -> Iterator[None]:
    """Say that models are being loaded inside the block.

    Args:
        models: As for `load_model`. Of those that are fetched from the Hub, a log is told how much has come.
    """
    if printing.err.is_terminal:
        with printing.err.status(f"Loading {' and '.join(models)} …"):  # beside the client's own bars
            yield
        return
    remote = [model for model in models if model != EMBEDDED and is_repo_id(model) and not Path(model).exists()]
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(remote, over), name="loading", daemon=True)
    if remote:
        watch.start()
    try:
        yield
    finally:
        over.set()


def _watch(models: list[str], over: threading.Event) -> None:
    from emosteer.hub.weights import downloaded_bytes, weight_bytes

    for model in models:
        size = None
        with suppress(EmosteerError):  # which loading will raise too
            size = weight_bytes(model)
        if size is None:
            continue
        here = downloaded_bytes(model) // MB
        with Meter(f"Fetching {model}, {size // MB:,} MB", size // MB) as meter:
            meter.advance(here, kept=True)
            while here < size // MB and not over.wait(PACE):
                now = downloaded_bytes(model) // MB
                meter.advance(now - here)
                here = now
