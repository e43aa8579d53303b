"""What a tone costs: how surprised the plain model is by a text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emosteer.model import Messages, SteeredModel

__all__ = ["nats_per_token"]


def nats_per_token(steered: SteeredModel, message: str | Messages, answer: str) -> float:
    """Mean negative log likelihood of an answer under the plain model, in nats a token.

    The cost of a tone is this figure of the toned answer minus that of a plain one. Call it outside of any block that
    steers the model.

    Args:
        steered: The model; its tone is not used.
        message: What was answered.
        answer: The answer, as text.

    Returns:
        Nats a token; not a number if the answer is empty.

    Raises:
        InputError: The message cannot be used as a prompt.
    """
    import torch

    prompt = steered.prompt(message)["input_ids"]
    tokens = steered.tokenizer(answer, add_special_tokens=False, return_tensors="pt")["input_ids"].to(prompt)
    if not tokens.shape[1]:
        return math.nan
    with torch.inference_mode():
        ids = torch.cat([prompt, tokens], dim=1)
        logits = steered.model(input_ids=ids, use_cache=False, logits_to_keep=tokens.shape[1] + 1).logits[:, :-1]
        return float(torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens.flatten()))
