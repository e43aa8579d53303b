"""Messages of a conversation: their checks, and their positions in the rendered chat template."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer._util.text import checked
from emosteer.errors import InputError
from emosteer.models.activations import Passage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]
"""`{"role": …, "content": …}` each, optionally with a tone of its own as `"emotion"`."""

__all__ = ["Messages", "last_message", "message_spans", "parsed", "template_options", "tones_of"]


def parsed(tokenizer: PreTrainedTokenizerBase, conversation: str | Messages) -> list[dict[str, str]]:
    """Return the messages of a conversation without their tones; a string is a single message of the user.

    Raises:
        InputError: There are no messages, one is not text, the last one is empty, or the tokenizer has no chat
            template.
    """
    turns: Messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
    if not isinstance(turns, Sequence) or not turns or not all(map(_is_message, turns)):
        raise InputError("A conversation is a list of messages, each with a role and a text as content.")
    messages = [_checked(message) for message in turns]
    if not messages[-1]["content"].strip():
        raise InputError("The message is empty.")
    if not tokenizer.chat_template:
        raise InputError(
            "The tokenizer has no chat template, so this is probably a base model.",
            "Use generate() with a text to continue, or set tokenizer.chat_template.",
        )
    return messages


def template_options(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return the chat template options that treat control tokens in messages, such as "<|im_end|>", as plain text.

    Raises:
        InputError: This version of transformers has no such option, and a message contains a control token.
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
    """Return the last message as a passage of its conversation.

    Raises:
        InputError: The messages are invalid, or the chat template changes the words of the last one.
    """
    messages = parsed(tokenizer, conversation)
    words = messages[-1]["content"].strip()
    # The words may occur earlier too, so find where a conversation with another last message differs.
    others = [*messages[:-1], {**messages[-1], "content": "\ufffc"}]
    whole, other = (str(tokenizer.apply_chat_template(version, tokenize=False)) for version in (messages, others))
    common = next((i for i, (a, b) in enumerate(zip(whole, other, strict=False)) if a != b), len(whole))
    start = whole.find(words, common)
    if start < 0:
        raise InputError("The chat template changes the last message.", "Read its text instead.")
    return Passage(whole, start, start + len(words), special_tokens=False)


def tones_of(conversation: str | Messages) -> list[Any]:
    """Return each message's own tone, None if it has none; an empty list for a string."""
    return [] if isinstance(conversation, str) else [message.get("emotion") for message in conversation]


def message_spans(
    tokenizer: PreTrainedTokenizerBase, conversation: Messages, ids: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the token positions at which each message of a prompt starts and ends.

    Args:
        tokenizer: The tokenizer.
        conversation: The messages.
        ids: Token ids of the conversation, up to where the answer begins.

    Raises:
        InputError: The chat template does not render one message after another.
    """
    messages = parsed(tokenizer, conversation)
    spans: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(messages) + 1):
        encoding: Any = tokenizer.apply_chat_template(
            messages[:end], tokenize=True, return_dict=True, **template_options(tokenizer, messages)
        )
        rendered = list(encoding["input_ids"])
        if list(ids[: len(rendered)]) != rendered:
            raise InputError(
                "The chat template does not render one message after another, so a single one cannot have a tone.",
                "Give one tone for all, as emotion=.",
            )
        spans.append((start, len(rendered)))
        start = len(rendered)
    return spans


def _is_message(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("content"), str) and isinstance(value.get("role"), str)


def _checked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message without its tone; its texts are text, without a byte-order mark."""
    return {
        key: checked(value, f"The {key} of a message") if isinstance(value, str) else value
        for key, value in message.items()
        if key != "emotion"
    }
