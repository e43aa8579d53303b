"""What a user says → messages as a chat template takes them, and the tones that single messages have."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.models.activations import Passage
from emosteer.steering.affect import Affect
from emosteer.steering.tones import Keyframes, Tone, Turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]
"""`{"role": …, "content": …}` each, with a tone of its own as `"emotion"` where it has one."""

__all__ = ["Messages", "last_said", "messages_of", "sanitising", "tones_of", "turns"]


def messages_of(tokenizer: PreTrainedTokenizerBase, given: str | Messages) -> list[dict[str, str]]:
    """The messages without their tones; a text is what the user says.

    Raises:
        InputError: They are none, the last says nothing, or the tokenizer has no chat template.
    """
    conversation = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(conversation, Sequence) or not conversation or not all(map(_is_message, conversation)):
        raise InputError("A conversation is a list of messages, each with a role and a text as content.")
    messages = [{key: value for key, value in one.items() if key != "emotion"} for one in conversation]
    if not messages[-1]["content"].strip():
        raise InputError("The message is empty.")
    if not tokenizer.chat_template:
        raise InputError(
            "The tokenizer has no chat template, so this is probably a base model.",
            "Use generate() with a text to continue, or set tokenizer.chat_template.",
        )
    return messages


def sanitising(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Options of the chat template with which a user's "<|im_end|>" is text, not the end of the user's turn.

    Raises:
        InputError: This transformers has no such option, and there is a control token in a message.
    """
    if "sanitize_control_tokens" in inspect.signature(tokenizer.apply_chat_template).parameters:
        return {"sanitize_control_tokens": True}
    for token in tokenizer.all_special_tokens:
        if any(token in message["content"] for message in messages):
            raise InputError(
                f"A message contains the control token {token!r}, which this transformers would obey.",
                "Take it out, or upgrade transformers.",
            )
    return {}


def last_said(tokenizer: PreTrainedTokenizerBase, given: Messages) -> Passage:
    """The words of the last message, where they stand in their conversation.

    Raises:
        InputError: They are not messages, or the chat template changes the words.
    """
    messages = messages_of(tokenizer, given)
    said = messages[-1]["content"].strip()
    # The words may stand elsewhere too, so their place is where another last message would differ.
    others = [*messages[:-1], {**messages[-1], "content": "\ufffc"}]
    whole, other = (str(tokenizer.apply_chat_template(one, tokenize=False)) for one in (messages, others))
    same = next((i for i, (a, b) in enumerate(zip(whole, other, strict=False)) if a != b), len(whole))
    start = whole.find(said, same)
    if start < 0:
        raise InputError("The chat template changes the last message.", "Read its text instead.")
    return Passage(whole, start, start + len(said), special_tokens=False)


def tones_of(given: str | Messages) -> list[Any]:
    """The tones that messages have of their own, None where one has none."""
    return [] if isinstance(given, str) else [one.get("emotion") for one in given]


def turns(
    tokenizer: PreTrainedTokenizerBase, given: Messages, answer: Tone | Affect | Keyframes | None, ids: Sequence[int]
) -> Turns:
    """The tone of every turn, where messages have tones of their own.

    Args:
        tokenizer: The tokenizer.
        given: The messages with their tones.
        answer: The tone of the answer.
        ids: The messages as the model reads them, up to where its answer begins.

    Raises:
        InputError: It cannot be told where a message ends.
    """
    messages = messages_of(tokenizer, given)
    found: list[tuple[Any, float, float]] = []
    start = 0
    for i, tone in enumerate(tones_of(given)):
        upto: Any = tokenizer.apply_chat_template(
            messages[: i + 1], tokenize=True, return_dict=True, **sanitising(tokenizer, messages)
        )
        until = list(upto["input_ids"])
        if list(ids[: len(until)]) != until:
            raise InputError(
                "The chat template does not write message after message, so a single one cannot have a tone.",
                "Give one tone for all, as emotion=.",
            )
        found.append((tone, start - len(ids), len(until) - len(ids)))
        start = len(until)
    return Turns((*found, (answer, start - len(ids), math.inf)))


def _is_message(one: object) -> bool:
    return isinstance(one, Mapping) and isinstance(one.get("content"), str) and isinstance(one.get("role"), str)
