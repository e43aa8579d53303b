"""What callers may ask of `generate`: prompts as token ids, length limits, padding, and what comes back."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from emosteer._util.numbers import is_whole_number
from emosteer._util.text import checked
from emosteer.errors import InputError
from emosteer.layers import input_device
from emosteer.models.token_positions import virtual_tokens

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 256
"""Length of an answer where neither the caller nor the model's generation config sets one."""

PROMPTS = ("input_ids", "inputs", "inputs_embeds")
"""Arguments of `generate` that hold the prompt."""

__all__ = [
    "MAX_NEW_TOKENS",
    "PROMPTS",
    "answer_options",
    "check_length",
    "context_length",
    "end_tokens",
    "left_padded",
    "option",
    "prompt_of",
    "sequences",
    "several",
    "text_prompt",
]


def context_length(model: PreTrainedModel) -> int:
    """Return the maximum number of tokens that a model reads; recurrent models have no limit.

    Scaled rotary embeddings reach further than the positions of the config, or as far: some configs name the scaled
    number, some the original one. An adapter's virtual tokens take room.
    """
    config = model.config.get_text_config(decoder=True)
    positions: int | None = getattr(config, "max_position_embeddings", None)
    if not positions:
        return sys.maxsize
    rotary = getattr(config, "rope_parameters", None) or {}
    kinds = [rotary, *(kind for kind in rotary.values() if isinstance(kind, dict))]  # some have one for each layer type
    reach = positions
    for kind in kinds:
        original = kind.get("original_max_position_embeddings") or positions
        # In Llama 3 the factor is one of frequencies, and the number of the config the scaled one.
        if kind.get("factor") and not (kind.get("rope_type") == "llama3" and original < positions):
            reach = max(reach, int(kind["factor"] * original))
    return reach - virtual_tokens(model)


def check_length(model: PreTrainedModel, tokens: int) -> None:
    """Check that a prompt leaves room for an answer.

    Args:
        model: The model that reads it.
        tokens: Number of tokens of the prompt.

    Raises:
        InputError: The prompt fills the model's context.
    """
    if tokens >= (limit := context_length(model)):
        raise InputError(f"The prompt has {tokens} tokens, the model's context ends at {limit}.", "Shorten it.")


def prompt_of(model: PreTrainedModel, options: dict[str, Any], inputs: Any = None) -> Tensor | None:
    """Return the prompt of a call of `generate`, and put it into the options as a tensor.

    Args:
        model: The model that generates.
        options: The caller's options, which may hold the prompt as `input_ids`, `inputs` or `inputs_embeds`.
        inputs: The prompt, if it was given by position.

    Returns:
        `[rows, tokens]` ids or `[rows, tokens, d_model]` embeddings; None without a prompt.

    Raises:
        InputError: The prompt is given twice, is none, or fills the model's context.
    """
    if inputs is not None:
        if given := [name for name in PROMPTS if options.get(name) is not None]:
            raise InputError(f"There are two prompts, one by position and {given[0]}.", "Leave one of them out.")
        options["inputs"] = inputs
    name = next((name for name in PROMPTS if options.get(name) is not None), None)
    if name is None:
        return None
    prompt = options[name] = _tensor(model, options[name])
    check_length(model, prompt.shape[1])
    return prompt


def _tensor(model: PreTrainedModel, inputs: Any) -> Tensor:
    """Return a prompt as a tensor: a list of token ids, or one of equal length for each row, becomes one."""
    import torch

    if isinstance(inputs, torch.Tensor) and inputs.ndim in (2, 3):
        return inputs
    if isinstance(inputs, str):
        raise InputError("generate() takes token ids, this is a text.", "Use complete() to continue a text, or chat().")
    if isinstance(inputs, Mapping):
        raise InputError("generate() takes what a tokenizer returns by name.", "Unpack it: generate(**inputs).")
    try:
        ids = torch.as_tensor(inputs, device=input_device(model))
    except (TypeError, ValueError, RuntimeError):
        ids = torch.tensor(0.5, device="cpu")
    if ids.is_floating_point() or ids.dtype == torch.bool or not ids.numel() or ids.ndim not in (1, 2):
        raise InputError(f"{inputs!r:.60} is no prompt of token ids.", "Give a tensor [rows, tokens], or such lists.")
    return ids.long().unsqueeze(0) if ids.ndim == 1 else ids.long()


def text_prompt(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> BatchEncoding:
    """Return a text that a model shall continue: token ids `[1, tokens]` and their mask, on its device.

    Raises:
        InputError: It is no text, empty, or longer than the model's context.
    """
    import torch

    if not isinstance(text, str) or not text.strip():
        raise InputError("There is no text to continue.", 'As complete("Once upon a time").')
    text = checked(text, "The text")
    with torch.device("cpu"):  # the caller may have set another default
        tokens: BatchEncoding = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    check_length(model, tokens["input_ids"].shape[1])
    return tokens.to(input_device(model))


def left_padded(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[BatchEncoding]) -> dict[str, Tensor]:
    """Return prompts `[1, tokens]` as one batch `[prompts, most tokens]`, in which all end at the last column."""
    from torch import cat
    from torch.nn.functional import pad

    length = max(prompt["input_ids"].shape[1] for prompt in prompts)
    values = {"input_ids": tokenizer.pad_token_id or 0}
    return {
        name: cat([pad(p[name], (length - p[name].shape[1], 0), value=values.get(name, 0)) for p in prompts])
        for name in prompts[0]
    }


def option(model: PreTrainedModel, options: Mapping[str, Any], name: str) -> Any:
    """Return the value that `generate` takes for an option: the caller's, or that of a generation config, or None."""
    sources = (options.get("generation_config"), model.generation_config)
    values = (options.get(name), *(getattr(source, name, None) for source in sources))
    return next((value for value in values if value is not None), None)


def answer_options(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: int,
    options: Mapping[str, Any],
    *,
    stream: bool = False,
) -> dict[str, Any]:
    """Return the options of `generate` for an answer, with its length and padding settled.

    The length is, in this order, the caller's `max_new_tokens` or `max_length`, that of the caller's
    `generation_config`, that of the model's own, or 256. The last two end where the model's context does.

    Args:
        model: The model that answers.
        tokenizer: Its tokenizer.
        tokens: Number of tokens of the prompt.
        options: The caller's options, which take precedence.
        stream: Whether the answer is streamed.

    Returns:
        The options. `max_new_tokens` is always among them, unless they are in a generation config of the caller's.

    Raises:
        InputError: A length is no whole number or leaves no room for an answer, there would be several answers, or
            options are not for the model to answer with: the prompt, variables of the chat template.
    """
    _refuse(model, tokenizer, options, stream)
    options = {name: value for name, value in options.items() if name not in (*PROMPTS, "attention_mask")}
    limit = _new_tokens(model, tokens, options)
    options = {name: value for name, value in options.items() if name != "max_length"} | {"max_new_tokens": limit}
    if option(model, options, "pad_token_id") is None:  # so that generate does not warn
        ends = end_tokens(model, options)
        options["pad_token_id"] = (
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(ends), None)
        )
    if option(model, options, "stop_strings"):
        options.setdefault("tokenizer", tokenizer)
    if options.get("generation_config") is not None:  # beside which generate takes no options of its own
        config = options["generation_config"] = copy(options["generation_config"])
        config.update(max_length=None, **{name: options.pop(name) for name in list(options) if hasattr(config, name)})
    return options


def several(options: Mapping[str, Any], answers: int) -> dict[str, Any]:
    """Return the options of `answer_options` for several answers to one prompt."""
    config = options.get("generation_config")
    if answers == 1:
        return dict(options)
    if config is None:
        return {**options, "num_return_sequences": answers}
    config = copy(config)
    config.num_return_sequences = answers
    return {**options, "generation_config": config}


def _refuse(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, options: Mapping[str, Any], stream: bool
) -> None:
    """Raise if an option cannot be used for one answer."""
    from transformers import GenerationConfig

    for name in (*PROMPTS, "attention_mask"):
        if options.get(name) is not None:
            raise InputError(f"{name} is made from the message.", "Use generate() to pass one of your own.")
    generate: Any = model.generate
    known = {*inspect.signature(generate).parameters, *vars(GenerationConfig())}
    for name in options:
        if name not in known and (name in ("tools", "documents") or name in str(tokenizer.chat_template)):
            hint = f"Give it as chat_template_kwargs={{{name!r}: …}}."
            raise InputError(f"{name} is for the chat template, not for generate.", hint)
    if (count := option(model, options, "num_return_sequences") or 1) != 1:
        raise InputError(
            f"num_return_sequences is {count}, where each answer is one.",
            "Use chat_each() with a tone for each answer, or generate().",
        )
    if option(model, options, "token_healing"):
        raise InputError("token_healing rewrites the end of the prompt.", "Leave it out, or use generate().")
    if stream and options.get("streamer") is not None:
        raise InputError("stream=True has a streamer of its own.", "Leave out streamer, or stream.")
    if stream and (beams := option(model, options, "num_beams") or 1) > 1:
        raise InputError(f"{beams} beams cannot be streamed: the best is known at the end.", "Leave out num_beams.")


def _new_tokens(model: PreTrainedModel, tokens: int, options: Mapping[str, Any]) -> int:
    """Return the number of tokens that an answer may have."""
    room, given = context_length(model) - tokens, options.get("generation_config")
    config = {} if given is None else vars(given)
    own = {} if model.generation_config is None else vars(model.generation_config)
    for source in (options, config, own):
        for name, before in (("max_new_tokens", 0), ("max_length", tokens)):
            if (limit := source.get(name)) is None:
                continue
            if not is_whole_number(limit) or limit <= before:
                had = f", the prompt has {tokens} tokens" if before else ""
                raise InputError(f"{name} is {limit!r}{had}.", "Give a whole number that leaves room for an answer.")
            limit = int(limit) - before
            return min(limit, room) if source is own else limit
    return min(MAX_NEW_TOKENS, room)


def end_tokens(model: PreTrainedModel, options: Mapping[str, Any]) -> set[int]:
    """Return the ids of the tokens that end an answer."""
    ends = option(model, options, "eos_token_id")
    return set() if ends is None else set(ends) if isinstance(ends, (list, tuple)) else {int(ends)}


def sequences(output: Any) -> Tensor:
    """Return the token ids `[rows, tokens]` in what `generate` returned, prompt and answer."""
    ids: Tensor = getattr(output, "sequences", output)
    return ids
