"""A model without weights, for its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emosteer.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["skeleton"]


def skeleton(source: str) -> PreTrainedModel:
    """Build a model on the meta device, from nothing but its `config.json`.

    Vectors can be checked against it (`EmotionVectors.check_model`) before its weights are downloaded. It cannot run.

    Args:
        source: A Hub id, or a folder.

    Raises:
        InputError: There is no such model, or transformers does not know it as a causal language model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)  # type: ignore[no-any-return]
    except (OSError, ValueError, ImportError, RuntimeError, TypeError, LookupError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"The model {source!r} cannot be used: {reason}",
            "Give the Hub id of a causal language model, such as HuggingFaceTB/SmolLM2-135M-Instruct.",
        ) from error
