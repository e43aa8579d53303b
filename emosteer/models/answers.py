"""Answers: the text of a reply, why it ended, and answers that are streamed piece by piece."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer.errors import warn
from emosteer.models.generation import end_tokens, option, sequences
from emosteer.models.thoughts import Reply, Thoughts

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Answer", "Asked", "Stream"]


@dataclass(frozen=True)
class Answer:
    """An answer, with what is to be known about it.

    Args:
        text: The answer, without the thoughts before it.
        thoughts: What a reasoning model wrote before it; empty for other models.
        finish_reason: `"stop"`: the model, a stop string or a stopping criterion ended it; `"length"`: it was cut at
            the most tokens that it may have; `"time"`: it was cut by `max_time`.
        prompt_tokens: Number of tokens of the prompt.
        completion_tokens: Number of generated tokens: thoughts, answer and the token that ends it.
    """

    text: str
    thoughts: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Asked:
    """What was asked of a model, from which its output becomes an answer.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        prompt: Token ids of the prompt.
        options: Options of `generate`, as `answer_options` returns them.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt: Sequence[int]
    options: Mapping[str, Any]

    def reply(self) -> Reply:
        """Return an empty reply to the prompt."""
        marks = Thoughts.of(self.tokenizer)
        return Reply(marks, opened=marks is not None and marks.open_after(self.prompt))

    def answers(self, output: Any) -> list[Answer]:
        """Return the answer of each row that `generate` returned."""
        return [self._answer(row) for row in sequences(output)[:, len(self.prompt) :].tolist()]

    def _answer(self, row: list[int]) -> Answer:
        ends = end_tokens(self.model, self.options)
        ids = row[: next((i for i, token in enumerate(row, 1) if token in ends), None)]  # the rest is padding
        reply = self.reply()
        told = [token for fed in ids for token in reply.add(fed)]
        text = str(self.tokenizer.decode(told, skip_special_tokens=True))
        thoughts = ""
        if reply.thoughts and (marks := Thoughts.of(self.tokenizer)):
            text, thoughts = text.lstrip(), marks.said(reply.thoughts)
        reason = self._finish_reason(ids, ends, text)
        if reason != "stop" and not reply.answering and thoughts:
            warn(
                f"The reply was cut after {len(ids)} tokens, while the model was still thinking: there is no answer. "
                "Raise max_new_tokens, or ask the chat template for no thoughts."
            )
        return Answer(text, thoughts, reason, len(self.prompt), len(ids))

    def _finish_reason(self, ids: Sequence[int], ends: set[int], text: str) -> str:
        stops = option(self.model, self.options, "stop_strings") or ()
        stops = (stops,) if isinstance(stops, str) else stops
        if (ids and ids[-1] in ends) or any(stop in text for stop in stops):
            return "stop"
        if len(ids) >= option(self.model, self.options, "max_new_tokens"):
            return "length"
        return "stop" if option(self.model, self.options, "max_time") is None else "time"


class Stream(Iterator[str]):
    """The pieces of an answer, while a thread generates it. It begins with the first piece that is asked for.

    Args:
        asked: What was asked of the model.
        generate: Runs the model with the options it is given.
        ongoing: Set that holds a function that ends the answer, while the answer is in progress.
    """

    answer: Answer | None
    """The whole answer, once the last piece has been read."""

    def __init__(
        self, asked: Asked, generate: Callable[[dict[str, Any]], Any], ongoing: set[Callable[[], None]]
    ) -> None:
        self.answer = None
        self._begun = False
        self._output: list[Any] = []
        self._asked = asked
        self._pieces = _pieces(asked, generate, ongoing, self._output)

    def __next__(self) -> str:
        try:
            piece = next(self._pieces)
        except StopIteration:
            if not self._output:
                raise
            (self.answer,) = self._asked.answers(self._output.pop())
            if self._begun or not self.answer.text:
                raise
            piece = self.answer.text  # of a decoding loop that streams nothing
        self._begun = True
        return str(piece)

    def close(self) -> None:
        """End the answer, and wait until the model has stopped."""
        self._pieces.close()


def _pieces(
    asked: Asked,
    generate: Callable[[dict[str, Any]], Any],
    ongoing: set[Callable[[], None]],
    output: list[Any],
) -> Any:
    """Return a generator that runs `generate` in a thread and yields its text, and leaves what it returned."""
    import torch
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(asked.tokenizer, skip_special_tokens=True)
    stop = threading.Event()
    failure: list[BaseException] = []

    def halted(ids: Tensor, _scores: Tensor) -> Tensor:
        return torch.full((ids.shape[0],), stop.is_set(), dtype=torch.bool, device=ids.device)

    reply = asked.reply()
    options = {
        **asked.options,
        "stopping_criteria": [halted, *(asked.options.get("stopping_criteria") or ())],
        "streamer": _OfAnswer(streamer, reply),
    }

    def run() -> None:
        try:
            output.append(generate(options))
        except BaseException as error:  # raised again in the reading thread
            failure.append(error)
        finally:
            streamer.on_finalized_text("", stream_end=True)  # whether or not generate has ended it

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
            begun = False
            for piece in streamer:
                told = piece if begun or not reply.thoughts else piece.lstrip()  # as in the answer's text
                begun = begun or bool(told)
                if told:
                    yield told
        finally:
            halt()
        if failure:
            raise failure[0]

    return pieces()


class _OfAnswer:
    """A streamer that passes on only the tokens of the answer: neither the prompt nor the thoughts."""

    def __init__(self, streamer: Any, reply: Reply) -> None:
        self._streamer, self._reply = streamer, reply
        self._prompt = True

    def put(self, value: Tensor) -> None:
        if self._prompt:  # generate streams it first
            self._prompt = False
            return
        for token in value.flatten().tolist():
            for told in self._reply.add(token):
                self._streamer.put(value.new_tensor([told]))

    def end(self) -> None:
        self._streamer.end()
