"""Why this word: what the plain model would have said at every token of an answer, beside what the toned one says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from emosteer._util.numbers import is_finite_number
from emosteer.errors import InputError
from emosteer.layers import input_device
from emosteer.models.generation import context_length
from emosteer.models.token_positions import answering
from emosteer.reading.token_text import piece_after, pieces

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FAVOURITES = 3
"""How many of the most probable tokens are named at each place."""

Processor = Callable[["Tensor", "Tensor"], "Tensor"]

__all__ = ["Choice", "Explanation", "answer_ids", "choices"]


@dataclass(frozen=True)
class Explanation:
    """An answer, token by token, as the plain and the toned model see it.

    Both read what stands before the token in this very answer, so each token is judged where it stands.

    Args:
        tokens: The answer in the model's pieces; joined they are the answer. Where several tokens are text only
            together, the first has all of it and the others have "".
        plain: The plain model's probability of each token.
        toned: The toned model's.
        plain_favourites: At each token, the up to three most probable pieces under the plain model, the likeliest
            first, with their probabilities.
        toned_favourites: Under the toned model.
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
        """Put together what the plain and the toned model say of the tokens of an answer."""
        return cls(
            tokens=pieces(tokenizer, ids),
            plain=tuple(one.probability for one in plain),
            toned=tuple(one.probability for one in toned),
            plain_favourites=tuple(one.favourites for one in plain),
            toned_favourites=tuple(one.favourites for one in toned),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "schema": 1,
            "tokens": list(self.tokens),
            "plain": list(self.plain),
            "toned": list(self.toned),
            "plain_favourites": [[list(one) for one in at] for at in self.plain_favourites],
            "toned_favourites": [[list(one) for one in at] for at in self.toned_favourites],
        }


class Choice(NamedTuple):
    """How a model chooses at one place.

    Args:
        probability: Of the token that stands there.
        favourites: The most probable pieces with their probabilities, none that is impossible.
    """

    probability: float
    favourites: tuple[tuple[str, float], ...]


def answer_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, answer: str, prompt_length: int
) -> list[int]:
    """Return the token ids of an answer that is to be explained.

    Args:
        model: That reads it.
        tokenizer: Its tokenizer.
        answer: The text.
        prompt_length: Tokens of the prompt.

    Raises:
        InputError: The answer is empty, or does not fit the model's context.
    """
    ids: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
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
    """How a model chooses at each token of an answer, in one forward pass, in whatever tone is in force.

    Args:
        model: The model.
        tokenizer: For the text of the favourites.
        prompt: Token ids before the answer, one at least.
        answer: Token ids of the answer.
        processors: Logits processors, as for `generate`.
        temperature: Divides the logits after the processors.

    Raises:
        InputError: The temperature is not a positive number.
    """
    import torch

    if not is_finite_number(temperature) or temperature <= 0:
        raise InputError(f"The temperature is {temperature!r}, expected a positive number.")

    ids = torch.tensor([[*prompt, *answer]], device=input_device(model))
    with answering(len(prompt)), torch.inference_mode():
        mask = torch.ones_like(ids)
        kept = len(answer) + 1  # the last of the prompt chooses the first of the answer
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept).logits[:, :-1].float()
        found = []
        for place, token in enumerate(answer):
            scores = logits[:, place]
            for processor in processors:
                scores = processor(ids[:, : len(prompt) + place].to(scores.device), scores)
            probabilities = (scores[0] / temperature).softmax(-1)
            best = probabilities.topk(min(FAVOURITES, len(probabilities)))
            favourites = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            before = [*prompt, *answer[:place]]
            named = tuple((piece_after(tokenizer, before, one), p) for one, p in favourites if p > 0)
            found.append(Choice(float(probabilities[token]), named))
    return found
