"""A model with its vectors, as a reader of emotion: in texts, in conversations, and in what it generates."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emosteer.layers import input_device
from emosteer.models.activations import Passage
from emosteer.models.fingerprint import base_model_of
from emosteer.models.generation import check_length
from emosteer.models.messages import Messages, encoded, last_message, parsed
from emosteer.reading.emotion_reading import EmotionReading, read
from emosteer.reading.fit import fit_readout
from emosteer.reading.trace import Trace

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.vectors.emotion_vectors import EmotionVectors
    from emosteer.vectors.types import Readout

__all__ = ["Reader"]


class Reader:
    """A model with its tokenizer and vectors, which reads emotion.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its tokenizer.
        vectors: Made for it.

    Raises:
        IncompatibleModelError: The vectors are for another shape of model.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, vectors: EmotionVectors) -> None:
        vectors.check_model(model)
        self.model = model
        self.tokenizer = tokenizer
        self.vectors = vectors
        self._readout: Readout | None = None
        self._fitting = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_fitting"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._fitting = threading.Lock()  # a lock cannot be copied

    @property
    def readout(self) -> Readout:
        """The readout that emotion is read with: that of the vectors, or one fitted on 300 texts when first needed.

        A readout of other weights, such as those before a fine-tune, is not used.
        """
        with self._fitting:
            made_for = self.vectors.base_model.fingerprint
            if self._readout is None and made_for is not None and made_for == base_model_of(self.model).fingerprint:
                self._readout = self.vectors.readout
            if self._readout is None:
                self._readout = fit_readout(self.model, self.tokenizer, self.vectors)
            return self._readout

    def read(self, text: str | Messages, *, chat_template_kwargs: Mapping[str, Any] | None = None) -> EmotionReading:
        """Read the emotion in a text, or in the last message of a conversation, with the plain model.

        Args:
            text: A text, or messages. Of a reasoning model's message, what follows its thoughts.
            chat_template_kwargs: As for `prompt`.

        Raises:
            InputError: The text is empty, a single token, or longer than the model's context.
        """
        passage: str | Passage = (
            text if isinstance(text, str) else last_message(self.tokenizer, text, chat_template_kwargs)
        )
        return read(self.readout, self.model, self.tokenizer, passage)

    def monitor(self) -> Trace:
        """Return a context manager that records the scores of every token the model reads, while it generates.

            with steered.monitor() as live:
                steered.chat("How was your morning?", emotion={"joy": 0.8})
            live.scores  # [rows, tokens, emotions and axes], prompt and answer

        A steered stream is read with its tone in it; `read` tells what the finished words carry.
        """
        return Trace(self.readout, self.model)

    def prompt(self, message: str | Messages, chat_template_kwargs: Mapping[str, Any] | None = None) -> BatchEncoding:
        """Return a conversation as the model reads it: token ids `[1, tokens]` up to where its answer begins.

        Args:
            message: What the user says, or a list of messages.
            chat_template_kwargs: What the chat template takes besides the messages: `tools`, `documents`,
                `enable_thinking`, …

        Raises:
            InputError: It is empty or longer than the model's context, the tokenizer has no chat template, or the
                template does not take the messages.
        """
        import torch

        with torch.device("cpu"):  # the caller may have set another default
            encoding = encoded(self.tokenizer, parsed(self.tokenizer, message), chat_template_kwargs)
        check_length(self.model, encoding["input_ids"].shape[1])
        return encoding.to(input_device(self.model))
