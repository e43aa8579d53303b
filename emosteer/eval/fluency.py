"""The cost of a tone: how surprising a text is to the plain model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from emosteer._util.text import checked
from emosteer.errors import InputError
from emosteer.layers import input_device
from emosteer.models.side_pass import side_pass
from emosteer.models.thoughts import Thoughts

if TYPE_CHECKING:
    from emosteer.model import Messages, SteeredModel

BATCH = 16
"""Answers per batch, limited by the memory of their logits over the vocabulary."""

__all__ = ["nats_of_tokens", "nats_per_token", "prompt_tokens"]


def nats_per_token(steered: SteeredModel, message: str | Messages, answer: str) -> float:
    """Return the mean negative log-likelihood of an answer under the plain model, in nats per token.

    The cost of a tone is this value for the toned answer minus that for a plain one.

    Args:
        steered: The model; its tone is not used.
        message: The prompt; for a base model, the text that the answer continues.
        answer: The answer, as text.

    Returns:
        Nats per token; NaN if the answer is empty.

    Raises:
        InputError: The message cannot be used as a prompt, or the answer is not text.
    """
    tokens: list[int] = steered.tokenizer(checked(answer, "The answer"), add_special_tokens=False)["input_ids"]
    return nats_of_tokens(steered, [prompt_tokens(steered, message)], [tokens])[0]


def prompt_tokens(steered: SteeredModel, message: str | Messages) -> list[int]:
    """Return a prompt as token ids: in the chat template, or as it is for a base model, which has none.

    A reasoning model is asked to answer without thinking first, because the answer is what is measured.

    Raises:
        InputError: It is empty, too long or not text, or messages are given to a base model.
    """
    if steered.tokenizer.chat_template:
        marks = Thoughts.of(steered.tokenizer)
        variables = marks.template_variables if marks else None
        chat: list[int] = steered.prompt(message, variables)["input_ids"][0].tolist()
        return marks.closed(chat) if marks else chat
    if not isinstance(message, str) or not message.strip():
        raise InputError("A base model, which has no chat template, continues a text that is not empty.")
    text: list[int] = steered.tokenizer(checked(message, "The text"))["input_ids"]
    return text


def nats_of_tokens(
    steered: SteeredModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[float]:
    """Return `nats_per_token` of many answers, given by the tokens that were generated.

    Args:
        steered: The model; its tone is not used.
        prompts: Token ids of each prompt.
        answers: Token ids of each answer.

    Returns:
        Nats per token of each answer; NaN for an empty one.
    """
    nats = [math.nan] * len(answers)
    # Rows of about equal length, so that little is padded.
    order = sorted((i for i, answer in enumerate(answers) if answer), key=lambda i: len(prompts[i]) + len(answers[i]))
    with side_pass(steered.model):
        for begin in range(0, len(order), BATCH):
            rows = order[begin : begin + BATCH]
            means = _batch_means(steered, [prompts[i] for i in rows], [answers[i] for i in rows])
            for i, mean in zip(rows, means, strict=True):
                nats[i] = mean
    return nats


def _batch_means(
    steered: SteeredModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[float]:
    import torch

    # Padded on the right, where causal attention does not look.
    rows = [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]
    length, first = max(map(len, rows)), min(map(len, prompts))
    device = input_device(steered.model)
    ids = torch.zeros(len(rows), length, dtype=torch.long, device="cpu")
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long, device="cpu")
        mask[i, : len(row)] = 1
        targets[i, len(prompt) : len(row)] = ids[i, len(prompt) : len(row)]
    with torch.inference_mode():
        logits = steered.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            use_cache=False,
            logits_to_keep=length - first + 1,
        ).logits[:, :-1]
    labels = targets[:, first:].to(logits.device)
    surprisal = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
    means: list[float] = (surprisal.sum(1) / (labels != -100).sum(1)).tolist()
    return means
