"""Messages of a conversation, and the conversation as its chat template renders it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer._util.text import checked
from emosteer.errors import InputError
from emosteer.models.activations import Passage
from emosteer.models.thoughts import Thoughts

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Messages = Sequence[Mapping[str, Any]]
"""`{"role": …, "content": …}` each, and what else the chat template knows; optionally a tone of its own as `"emotion"`.
"""

MARK = "\ufffc"
"""Content by which the place of a message is found."""

_OURS = (
    "conversation",
    "tokenize",
    "return_tensors",
    "return_dict",
    "add_generation_prompt",
    "continue_final_message",
    "padding",
    "truncation",
    "max_length",
    "return_assistant_tokens_mask",
    "sanitize_control_tokens",
    "tokenizer_kwargs",
)
"""Arguments of `apply_chat_template` that are no variables of a template."""

__all__ = ["MARK", "Messages", "encoded", "last_message", "marked", "parsed", "rendered", "tones_of"]


def parsed(tokenizer: PreTrainedTokenizerBase, conversation: str | Messages) -> list[dict[str, Any]]:
    """Return the messages of a conversation without their tones; a string is a single message of the user.

    Content may be a list of text parts. Where the chat template knows only texts, they are joined by line breaks.

    Raises:
        InputError: There are no messages, one of them cannot be read, the last one is empty, or the tokenizer has no
            chat template.
    """
    turns: Messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
    if not isinstance(turns, Sequence) or not turns or not all(map(_is_message, turns)):
        raise InputError(
            "A conversation is a list of messages, each with a role and a text as content.",
            'As [{"role": "user", "content": "Hello"}]; content may also be a list of text parts.',
        )
    messages = [
        {key: _checked(value, f"The {key} of a message") for key, value in message.items() if key != "emotion"}
        for message in turns
    ]
    if not text_of(messages[-1]).strip():
        raise InputError("The message is empty.")
    if not tokenizer.chat_template:
        raise InputError(
            "The tokenizer has no chat template, so this is probably a base model.",
            "Use complete() with a text to continue, or set tokenizer.chat_template.",
        )
    if any(isinstance(message["content"], list) for message in messages) and not _knows_parts(tokenizer):
        messages = [
            {**message, "content": text_of(message)} if isinstance(message["content"], list) else message
            for message in messages
        ]
    return messages


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message, empty if it has none."""
    content = message["content"]
    return "\n".join(part["text"] for part in content) if isinstance(content, list) else content or ""


def _is_message(value: object) -> bool:
    """Return whether a value is a message whose content is a text, text parts, or None beside something else."""
    if not isinstance(value, Mapping) or not isinstance(value.get("role"), str):
        return False
    content = value.get("content")
    if isinstance(content, list) and content:
        for part in content:
            kind = part.get("type") if isinstance(part, Mapping) else None
            if isinstance(kind, str) and kind != "text":
                raise InputError(
                    f"A message has a part of the type {kind[:40]!r}, a tokenizer reads text only.",
                    "Prepare it with the model's processor, and use generate().",
                )
        return all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in content)
    return isinstance(content, str) or (content is None and len(value.keys() - {"role", "content", "emotion"}) > 0)


def _knows_parts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template reads content that is a list of parts."""
    try:
        text = str(tokenizer.apply_chat_template([marked({"role": "user", "content": []})], tokenize=False))
    except Exception:  # whatever a template raises that does not expect a list
        return False
    return MARK in text and "'type'" not in text and '"type"' not in text


def marked(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message with `MARK` as its content."""
    parts = isinstance(message["content"], list)
    return {**message, "content": [{"type": "text", "text": MARK}] if parts else MARK}


def rendered(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Apply the chat template to messages.

    Args:
        tokenizer: The tokenizer.
        messages: Messages, from `parsed`.
        variables: What the chat template takes besides them: `tools`, `documents`, `enable_thinking`, …
        **options: Further options of `apply_chat_template`.

    Returns:
        What `apply_chat_template` returns.

    Raises:
        InputError: The chat template refuses the messages or fails, or a variable is not for the caller to set.
    """
    from jinja2 import TemplateError

    variables = variables or {}
    if not isinstance(variables, Mapping) or not all(isinstance(name, str) for name in variables):
        raise InputError(f"{variables!r:.60} are no variables of a chat template.", "As {'enable_thinking': False}.")
    if ours := [name for name in variables if name in _OURS]:
        raise InputError(f"{ours[0]} is no variable of the chat template: it is set by what is asked.", "Leave it out.")
    try:
        if unknown := [name for name in variables if name not in _template(tokenizer, variables)]:
            raise InputError(f"The chat template knows no {unknown[0]!r}.", "Leave it out, it would change nothing.")
        return tokenizer.apply_chat_template([dict(message) for message in messages], **variables, **options)
    except InputError:
        raise
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = "Change the messages, or what the template is given."
        if merged := _merged(messages):
            try:
                tokenizer.apply_chat_template(merged, **variables, **options)
            except Exception:
                pass
            else:
                hint = (
                    "It takes them with the system message in the first user message: "
                    '{"role": "user", "content": system + "\\n\\n" + user}.'
                )
        raise InputError(f"The chat template does not take these messages: {reason[:200]}", hint) from error


def _template(tokenizer: PreTrainedTokenizerBase, variables: Mapping[str, Any]) -> str:
    """Return the chat template that is rendered, which may be one of several, or one that is among the variables."""
    own = variables.get("chat_template")
    return f"chat_template {tokenizer.get_chat_template(own, tools=variables.get('tools'))}"


def _merged(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]] | None:
    """Return the messages with the system message in the first user message, if they begin with the two."""
    if [message["role"] for message in messages[:2]] not in (["system", "user"], ["developer", "user"]):
        return None
    content = f"{text_of(messages[0])}\n\n{text_of(messages[1])}"
    return [{**messages[1], "content": content}, *map(dict, messages[2:])]


def encoded(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any] | None
) -> BatchEncoding:
    """Return a conversation up to where the answer begins: after a last message of the assistant, its continuation.

    Args:
        tokenizer: The tokenizer.
        messages: Messages, from `parsed`.
        variables: As for `rendered`.

    Returns:
        Token ids `[1, tokens]` and their mask. Control tokens in the messages, such as "<|im_end|>", are plain text.

    Raises:
        InputError: As for `rendered`.
    """
    end = {"continue_final_message" if is_continued(messages) else "add_generation_prompt": True}
    both = (messages, [*messages[:-1], marked(messages[-1])])
    text, other = (rendered(tokenizer, version, variables, tokenize=False, **end) for version in both)
    if text == other:
        raise InputError(
            f"The chat template leaves out the last message, of the role {messages[-1]['role'][:40]!r}.",
            "Give it a role that the template shows, such as user.",
        )
    encoding: BatchEncoding = rendered(
        tokenizer,
        messages,
        variables,
        return_tensors="pt",
        return_dict=True,
        **end,
        **template_options(tokenizer, messages),
    )
    return encoding


def is_continued(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last message is the assistant's, so that the answer continues it."""
    return bool(messages[-1]["role"] == "assistant")


def template_options(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the chat template options that treat control tokens in messages, such as "<|im_end|>", as plain text.

    Raises:
        InputError: This version of transformers has no such option, and a message contains a control token.
    """
    if "sanitize_control_tokens" in inspect.signature(tokenizer.apply_chat_template).parameters:
        return {"sanitize_control_tokens": True}
    for token in tokenizer.all_special_tokens:
        if any(token in text_of(message) for message in messages):
            raise InputError(
                f"A message contains the control token {token!r}, which this transformers would obey.",
                "Take it out, or upgrade transformers.",
            )
    return {}


def last_message(
    tokenizer: PreTrainedTokenizerBase, conversation: Messages, variables: Mapping[str, Any] | None = None
) -> Passage:
    """Return the last message as a passage of its conversation, without the thoughts before an answer.

    Raises:
        InputError: The messages are invalid, or the chat template changes the words of the last one.
    """
    messages = parsed(tokenizer, conversation)
    words = text_of(messages[-1]).strip()
    if messages[-1]["role"] == "assistant" and (marks := Thoughts.of(tokenizer)):
        words = words.rpartition(marks.closing)[2].strip()
    # The words may occur earlier too, so find where a conversation with another last message differs.
    others = [*messages[:-1], marked(messages[-1])]
    whole, other = (str(rendered(tokenizer, version, variables, tokenize=False)) for version in (messages, others))
    common = next((i for i, (a, b) in enumerate(zip(whole, other, strict=False)) if a != b), len(whole))
    start = whole.find(words, common) if words else -1
    if start < 0:
        raise InputError("The chat template changes the last message.", "Read its text instead.")
    return Passage(whole, start, start + len(words), special_tokens=False)


def tones_of(conversation: str | Messages) -> list[Any]:
    """Return each message's own tone, None if it has none; an empty list for a string."""
    return [] if isinstance(conversation, str) else [message.get("emotion") for message in conversation]


def _checked(value: Any, what: str) -> Any:
    """Return a part of a message whose texts are text, without a byte-order mark."""
    if isinstance(value, str):
        return checked(value, what)
    if isinstance(value, list):
        return [_checked(item, what) for item in value]
    return {key: _checked(item, what) for key, item in value.items()} if isinstance(value, dict) else value
