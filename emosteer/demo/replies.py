"""Answers in two voices, piece by piece."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer.demo.state import Sampling
from emosteer.demo.tone import Setting, recipe_for

if TYPE_CHECKING:
    from emosteer import SteeredModel

__all__ = ["reply", "together"]


def reply(
    steered: SteeredModel, asked: Mapping[str, Sequence[Mapping[str, str]]], setting: Setting, sampling: Sampling
) -> Generator[tuple[str, str], None, None]:
    """What voices answer, as it comes: the voice and a piece of its answer. Closing the iterator stops the model.

    Args:
        steered: The model.
        asked: Voice, `"plain"` or `"toned"`, → the conversation that it answers.
        setting: The tone of the second.
        sampling: The same for both, so that only the tone differs.

    Raises:
        EmosteerError: The conversation or the tone cannot be used.
    """
    tones: dict[str, dict[str, Any]] = {
        "plain": {},
        "toned": {"emotion": setting.emotion, "recipe": recipe_for(setting)},
    }
    return together(
        {
            voice: steered.chat(messages, stream=True, **tones[voice], **sampling.options())
            for voice, messages in asked.items()
        }
    )


def together(streams: Mapping[str, Iterator[str]]) -> Generator[tuple[str, str], None, None]:
    """What several iterators give, as it comes, each in a thread of its own; an error of one ends all.

    Args:
        streams: Name → iterator. Each is closed when this one is, or when another fails.
    """
    said: queue.Queue[tuple[str, str | BaseException | None]] = queue.Queue()
    stop = threading.Event()

    def pump(name: str, stream: Iterator[str]) -> None:
        ended: BaseException | None = None
        try:
            for piece in stream:
                if stop.is_set():
                    break
                said.put((name, piece))
        except BaseException as error:  # raised again in the thread that reads
            ended = error
        finally:
            if hasattr(stream, "close"):
                stream.close()
            said.put((name, ended))

    workers = [threading.Thread(target=pump, args=one, name=f"voice-{one[0]}") for one in streams.items()]
    try:
        for worker in workers:
            worker.start()
        running = len(workers)
        while running:
            name, piece = said.get()
            if isinstance(piece, BaseException):
                raise piece
            if piece is None:
                running -= 1
            else:
                yield name, piece
    finally:
        stop.set()
        for worker in workers:
            worker.join()
