"""Explanations of an answer: the probability of each token under the plain and the toned model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from emosteer._util.numbers import is_finite_number
from emosteer._util.text import checked
from emosteer.errors import InputError
from emosteer.layers import input_device
from emosteer.models.generation import context_length
from emosteer.models.side_pass import evaluating
from emosteer.models.token_positions import answering
from emosteer.reading.token_text import piece_after, pieces
from emosteer.reading.trace import unrecorded

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FAVOURITES = 3
"""Number of most probable tokens reported at each position."""

Processor = Callable[["Tensor", "Tensor"], "Tensor"]

__all__ = ["Choice", "Explanation", "answer_ids", "choices"]


@dataclass(frozen=True)
class Explanation:
    """The probabilities of an answer, token by token, under the plain and the toned model.

    Each probability is conditional on the tokens before it in this answer.

    Args:
        tokens: The text of each token; joined they are the answer. If several tokens form a character together, the
            first has its text and the others have "".
        plain: Probability of each token under the plain model.
        toned: Probability of each token under the toned model.
        plain_favourites: At each token, up to three most probable pieces under the plain model, with their
            probabilities, the most probable first.
        toned_favourites: The same under the toned model.
    """

    tokens: tuple[str, ...]
    plain: tuple[float, ...]
    toned: tuple[float, ...]
    plain_favourites: tuple[tuple[tuple[str, float], ...], ...]
    toned_favourites: tuple[tuple[tuple[str, float], ...], ...]

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        ids: Sequence[int],
        plain: Sequence[Choice],
        toned: Sequence[Choice],
    ) -> Explanation:
        """Combine the choices of both models at the tokens of an answer."""
        return cls(
            tokens=pieces(tokenizer, ids),
            plain=tuple(choice.probability for choice in plain),
            toned=tuple(choice.probability for choice in toned),
            plain_favourites=tuple(choice.favourites for choice in plain),
            toned_favourites=tuple(choice.favourites for choice in toned),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "schema": 1,
            "tokens": list(self.tokens),
            "plain": list(self.plain),
            "toned": list(self.toned),
            "plain_favourites": [[list(piece) for piece in row] for row in self.plain_favourites],
            "toned_favourites": [[list(piece) for piece in row] for row in self.toned_favourites],
        }


class Choice(NamedTuple):
    """The choice of a model at one position.

    Args:
        probability: Probability of the actual token.
        favourites: The most probable pieces with their probabilities, without those of probability 0.
    """

    probability: float
    favourites: tuple[tuple[str, float], ...]


def answer_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answer: str, prompt_length: int
) -> list[int]:
    """Return the token ids of an answer to explain.

    Args:
        model: The model that reads it.
        tokenizer: Its tokenizer.
        answer: The text.
        prompt_length: Number of tokens of the prompt.

    Raises:
        InputError: The answer is empty or not text, or prompt and answer exceed the model's context.
    """
    ids: list[int] = tokenizer(checked(answer, "The answer"), add_special_tokens=False)["input_ids"]
    if not ids:
        raise InputError("The answer is empty.")
    if prompt_length + len(ids) > (limit := context_length(model)):
        raise InputError(
            f"Prompt and answer have {prompt_length} and {len(ids)} tokens, the model's context ends at {limit}.",
            "Shorten the answer.",
        )
    return ids


def choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[int],
    answer: Sequence[int],
    *,
    processors: Sequence[Processor] = (),
    temperature: float = 1.0,
) -> list[Choice]:
    """Return the choices of a model, steered or not, at each token of an answer, from one forward pass.

    Args:
        model: The model.
        tokenizer: Decodes the favourites.
        prompt: Token ids before the answer, at least one.
        answer: Token ids of the answer.
        processors: Logits processors, as for `generate`.
        temperature: Divisor of the processed logits.

    Raises:
        InputError: The temperature is not a positive number.
    """
    import torch

    if not is_finite_number(temperature) or temperature <= 0:
        raise InputError(f"The temperature is {temperature!r}, expected a positive number.")
    ids = torch.tensor([[*prompt, *answer]], dtype=torch.long, device=input_device(model))
    with answering(len(prompt)), unrecorded(), evaluating(model), torch.inference_mode():
        mask = torch.ones_like(ids)
        kept = len(answer) + 1  # the last token of the prompt predicts the first of the answer
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits[:, :-1].float()
        chosen = []
        for position, token in enumerate(answer):
            scores = logits[:, position]
            for processor in processors:
                scores = processor(ids[:, : len(prompt) + position].to(scores.device), scores)
            probabilities = (scores[0] / temperature).softmax(-1)
            best = probabilities.topk(min(FAVOURITES, len(probabilities)))
            favourites = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            before = [*prompt, *answer[:position]]
            texts = tuple((piece_after(tokenizer, before, favourite), p) for favourite, p in favourites if p > 0)
            chosen.append(Choice(float(probabilities[token]), texts))
    return chosen
