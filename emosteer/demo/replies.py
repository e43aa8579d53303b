"""Answers in two voices, as a stream of pieces."""

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
    """Answer in both voices, and yield each piece with its voice. Closing the iterator stops the model.

    Args:
        steered: The model.
        asked: Voice, `"plain"` or `"toned"`, → the conversation that it answers.
        setting: The tone of the second voice.
        sampling: How both voices are sampled, so that only the tone differs.

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
    """Run several iterators, each in a thread, and yield each item with the iterator's name.

    Args:
        streams: Name → iterator. All are closed when this one is closed, or when one of them fails.
    """
    pieces: queue.Queue[tuple[str, str | BaseException | None]] = queue.Queue()
    stop = threading.Event()

    def pump(name: str, stream: Iterator[str]) -> None:
        failure: BaseException | None = None
        try:
            for piece in stream:
                if stop.is_set():
                    break
                pieces.put((name, piece))
        except BaseException as error:  # raised again in the thread that reads
            failure = error
        finally:
            if hasattr(stream, "close"):
                stream.close()
            pieces.put((name, failure))

    workers = [threading.Thread(target=pump, args=item, name=f"voice-{item[0]}") for item in streams.items()]
    try:
        for worker in workers:
            worker.start()
        running = len(workers)
        while running:
            name, piece = pieces.get()
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
