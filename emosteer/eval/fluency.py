"""What a tone costs: how surprised the plain model is by a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emosteer.errors import InputError
from emosteer.layers import input_device
from emosteer.steering.hooks import unsteered

if TYPE_CHECKING:
    from emosteer.model import Messages, SteeredModel

BATCH = 16
"""Answers scored at a time: their logits over the vocabulary are what takes memory."""

__all__ = ["nats_of_tokens", "nats_per_token", "prompt_tokens"]


def nats_per_token(steered: SteeredModel, message: str | Messages, answer: str) -> float:
    """Mean negative log likelihood of an answer under the plain model, in nats a token.

    The cost of a tone is this figure of the toned answer minus that of a plain one.

    Args:
        steered: The model; its tone is not used.
        message: What was answered; for a base model, the text that was continued.
        answer: The answer, as text.

    Returns:
        Nats a token; not a number if the answer is empty.

    Raises:
        InputError: The message cannot be used as a prompt.
    """
    tokens: list[int] = steered.tokenizer(answer, add_special_tokens=False)["input_ids"]
    return nats_of_tokens(steered, [prompt_tokens(steered, message)], [tokens])[0]


def prompt_tokens(steered: SteeredModel, message: str | Messages) -> list[int]:
    """A prompt as the model reads it: in its chat template, or as it is for a base model, which has none.

    Raises:
        InputError: It is empty or too long, or messages are given to a base model.
    """
    if steered.tokenizer.chat_template:
        chat: list[int] = steered.prompt(message)["input_ids"][0].tolist()
        return chat
    if not isinstance(message, str) or not message.strip():
        raise InputError("A base model, which has no chat template, continues a text that is not empty.")
    text: list[int] = steered.tokenizer(message)["input_ids"]
    return text


def nats_of_tokens(
    steered: SteeredModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[float]:
    """`nats_per_token` of many answers, by the very tokens that were generated.

    Args:
        steered: The model; its tone is not used.
        prompts: Token ids of each prompt.
        answers: Token ids of each answer.

    Returns:
        Nats a token of each answer; not a number for an empty one.
    """
    found = [math.nan] * len(answers)
    # Rows of about equal length, so that little is padded.
    order = sorted((i for i, answer in enumerate(answers) if answer), key=lambda i: len(prompts[i]) + len(answers[i]))
    with unsteered():
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            scores = _scored(steered, [prompts[i] for i in rows], [answers[i] for i in rows])
            for i, score in zip(rows, scores, strict=True):
                found[i] = score
    return found


def _scored(steered: SteeredModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[float]:
    import torch

    # Padded on the right, where causal attention does not look.
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    length, first = max(map(len, rows)), min(map(len, prompts))
    device = input_device(steered.model)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
        targets[i, len(prompt) : len(row)] = ids[i, len(prompt) : len(row)]
    with torch.inference_mode():
        logits = steered.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            use_cache=False,
            logits_to_keep=length - first + 1,
        ).logits[:, :-1]
    wanted = targets[:, first:].to(logits.device)
    surprisal = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
    means: list[float] = (surprisal.sum(1) / (wanted != -100).sum(1)).tolist()
    return means
