"""Conversations whose messages have tones of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer.errors import ToneError
from emosteer.models.message_spans import message_spans
from emosteer.models.messages import Messages, tones_of
from emosteer.steering.thermostat import Thermostat
from emosteer.steering.tones import Turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["tone_of_turns"]


def tone_of_turns(
    tokenizer: PreTrainedTokenizerBase,
    conversation: str | Messages,
    answer: Any,
    ids: Sequence[int],
    variables: Mapping[str, Any] | None,
) -> Any:
    """Return the tone of an answer, or of every turn where messages have tones of their own.

    Args:
        tokenizer: The tokenizer.
        conversation: What is answered.
        answer: Tone of the answer.
        ids: Token ids of the conversation.
        variables: Variables of the chat template.

    Raises:
        ToneError: The answer has a thermostat, and a message a tone.
        InputError: The chat template does not show where a message with a tone stands.
    """
    tones = tones_of(conversation)
    if not any(tones):
        return answer
    if isinstance(answer, Thermostat):
        raise ToneError("A thermostat cannot stand beside tones of single messages.", "Give the answer a tone.")
    return Turns.of(tones, message_spans(tokenizer, conversation, ids, variables), answer, len(ids))  # type: ignore[arg-type]
