"""Messages of a conversation: as a chat template takes them, and where each one stands in what the model reads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.models.activations import Passage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]
"""`{"role": …, "content": …}` each, with a tone of its own as `"emotion"` where it has one."""

__all__ = ["Messages", "last_message", "message_spans", "parsed", "template_options", "tones_of"]


def parsed(tokenizer: PreTrainedTokenizerBase, conversation: str | Messages) -> list[dict[str, str]]:
    """Return the messages of a conversation without their tones; a text is what the user says.

    Raises:
        InputError: There are no messages, the last one is empty, or the tokenizer has no chat template.
    """
    given: Messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
    if not isinstance(given, Sequence) or not given or not all(map(_is_message, given)):
        raise InputError("A conversation is a list of messages, each with a role and a text as content.")
    messages = [{key: value for key, value in message.items() if key != "emotion"} for message in given]
    if not messages[-1]["content"].strip():
        raise InputError("The message is empty.")
    if not tokenizer.chat_template:
        raise InputError(
            "The tokenizer has no chat template, so this is probably a base model.",
            "Use generate() with a text to continue, or set tokenizer.chat_template.",
        )
    return messages


def template_options(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return options of the chat template with which a user's "<|im_end|>" is text, not the end of the user's turn.

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


def last_message(tokenizer: PreTrainedTokenizerBase, conversation: Messages) -> Passage:
    """Return the words of the last message, where they stand in their conversation.

    Raises:
        InputError: These are not messages, or the chat template changes the words.
    """
    messages = parsed(tokenizer, conversation)
    words = messages[-1]["content"].strip()
    # The words may stand elsewhere too, so their place is where another last message would differ.
    others = [*messages[:-1], {**messages[-1], "content": "\ufffc"}]
    whole, other = (str(tokenizer.apply_chat_template(version, tokenize=False)) for version in (messages, others))
    same = next((i for i, (a, b) in enumerate(zip(whole, other, strict=False)) if a != b), len(whole))
    start = whole.find(words, same)
    if start < 0:
        raise InputError("The chat template changes the last message.", "Read its text instead.")
    return Passage(whole, start, start + len(words), special_tokens=False)


def tones_of(conversation: str | Messages) -> list[Any]:
    """Return the tones that messages have of their own, None where one has none."""
    return [] if isinstance(conversation, str) else [message.get("emotion") for message in conversation]


def message_spans(
    tokenizer: PreTrainedTokenizerBase, conversation: Messages, ids: Sequence[int]
) -> list[tuple[int, int]]:
    """Return where each message begins and ends among the tokens of a prompt.

    Args:
        tokenizer: The tokenizer.
        conversation: The messages.
        ids: The conversation as the model reads it, up to where its answer begins.

    Returns:
        Start and end of each message, as token positions.

    Raises:
        InputError: It cannot be told where a message ends.
    """
    messages = parsed(tokenizer, conversation)
    spans: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(messages) + 1):
        encoding: Any = tokenizer.apply_chat_template(
            messages[:end], tokenize=True, return_dict=True, **template_options(tokenizer, messages)
        )
        until = list(encoding["input_ids"])
        if list(ids[: len(until)]) != until:
            raise InputError(
                "The chat template does not write message after message, so a single one cannot have a tone.",
                "Give one tone for all, as emotion=.",
            )
        spans.append((start, len(until)))
        start = len(until)
    return spans


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("content"), str) and isinstance(value.get("role"), str)
