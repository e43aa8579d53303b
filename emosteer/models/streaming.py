"""An answer piece by piece, while a thread makes it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["streamed"]


def streamed(
    tokenizer: PreTrainedTokenizerBase,
    generate: Callable[[dict[str, Any]], Any],
    options: Mapping[str, Any],
    ongoing: set[Callable[[], None]],
) -> Iterator[str]:
    """Run generate in a thread and hand its text over as it comes.

    Args:
        tokenizer: The model's.
        generate: Runs the model with the options it is given, those below with what streams and stops.
        options: For generate.
        ongoing: Holds what ends the answer, while there is something to end.
    """
    import torch
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    stop = threading.Event()
    failure: list[BaseException] = []

    def halted(ids: Tensor, _scores: Tensor) -> Tensor:
        return torch.full((ids.shape[0],), stop.is_set(), device=ids.device)

    criteria = [halted, *options.get("stopping_criteria", ())]

    def run() -> None:
        try:
            generate({**options, "stopping_criteria": criteria, "streamer": streamer})
        except BaseException as error:  # raised again in the thread that reads
            failure.append(error)
            streamer.on_finalized_text("", stream_end=True)

    def halt() -> None:
        ongoing.discard(halt)
        stop.set()
        if worker.ident is not None:
            worker.join()

    # A new thread knows no context variables; the reader's are its own, so tones of outer blocks hold in it.
    worker = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="emosteer-stream")

    def pieces() -> Iterator[str]:
        ongoing.add(halt)
        try:
            worker.start()
            yield from filter(None, streamer)
        finally:
            halt()
        if failure:
            raise failure[0]

    return pieces()
