"""Options of `generate` that depend on the model: its context length, its padding and its end tokens."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emosteer.errors import InputError
from emosteer.models.token_positions import virtual_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 256
"""Length of an answer unless the caller sets another."""

__all__ = ["answer_options", "check_length", "context_length", "until_end"]


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


def answer_options(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of `generate` for an answer, with defaults for its length and for padding.

    Args:
        model: The model that answers.
        tokenizer: Its tokenizer.
        tokens: Number of tokens of the prompt.
        options: The caller's options, which take precedence.
    """
    padding = tokenizer.pad_token_id
    if padding is None and model.generation_config is not None:  # so that generate does not warn
        eos = model.generation_config.eos_token_id
        padding = eos[0] if isinstance(eos, list) else eos
    room = context_length(model) - tokens
    return {"max_new_tokens": min(MAX_NEW_TOKENS, room), "pad_token_id": padding, **options}


def until_end(model: PreTrainedModel, answer: Sequence[int], options: Mapping[str, Any]) -> Sequence[int]:
    """Return a row of a batch up to and including its end token; the rest is padding.

    Args:
        model: The model that answered.
        answer: Token ids.
        options: Options for `generate`.
    """
    config = options.get("generation_config") or model.generation_config
    eos = options.get("eos_token_id", getattr(config, "eos_token_id", None))
    ends = set(eos) if isinstance(eos, (list, tuple)) else {eos}
    return answer[: next((i for i, token in enumerate(answer, 1) if token in ends), None)]
