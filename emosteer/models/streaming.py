"""Answers streamed piece by piece from a thread that generates them."""

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
    """Run `generate` in a thread and return an iterator over its text.

    Args:
        tokenizer: The model's tokenizer.
        generate: Runs the model with the options it is given.
        options: Options for `generate`, to which a streamer and a stopping criterion are added.
        ongoing: Set that holds a function that ends the answer, while the answer is in progress.
    """
    import torch
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    stop = threading.Event()
    failure: list[BaseException] = []

    def halted(ids: Tensor, _scores: Tensor) -> Tensor:
        return torch.full((ids.shape[0],), stop.is_set(), dtype=torch.bool, device=ids.device)

    criteria = [halted, *options.get("stopping_criteria", ())]

    def run() -> None:
        try:
            generate({**options, "stopping_criteria": criteria, "streamer": streamer})
        except BaseException as error:  # raised again in the reading thread
            failure.append(error)
            streamer.on_finalized_text("", stream_end=True)

    def halt() -> None:
        ongoing.discard(halt)
        stop.set()
        if worker.ident is not None:
            worker.join()

    # A new thread has no context variables: copy the caller's, so that the tones of outer blocks apply.
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
