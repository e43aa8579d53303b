"""How far tones move a model: the divergence of the toned from the plain model, over the plain model's own answers.

Nothing is generated in a tone. The plain model answers once, and each tone reads those answers, token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from emosteer._util.progress import Meter
from emosteer.errors import InputError
from emosteer.eval.fluency import prompt_tokens
from emosteer.eval.prompts import Prompt, as_prompt
from emosteer.eval.sampling import Cell, generate_cells
from emosteer.layers import input_device
from emosteer.models.side_pass import side_pass
from emosteer.steering.tones import Tone

if TYPE_CHECKING:
    from torch import Tensor

    from emosteer.model import SteeredModel

TEMPERATURE = 0.8

LOGITS = 2**26
"""Most logits of a batch: 256 MB in float32, whatever the size of the vocabulary."""

__all__ = ["TEMPERATURE", "Reply", "divergences", "plain_replies"]


@dataclass(frozen=True)
class Reply:
    """What the plain model answers.

    Args:
        prompt: Token ids of the prompt.
        answer: Token ids of the answer, at least one.
    """

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


def plain_replies(steered: SteeredModel, prompts: Sequence[str | Prompt], *, tokens: int, seed: int = 0) -> list[Reply]:
    """Let the plain model answer prompts, without those that it answers with nothing.

    Args:
        steered: The model; its tone is not used.
        prompts: Prompts; for a base model, texts to continue.
        tokens: Length of the longest answer, in tokens.
        seed: Seed of sampling.

    Raises:
        InputError: A prompt cannot be used, or all answers are empty.
    """
    plain = {Cell(None, 0.0, control="unsteered"): [(prompt, 0) for prompt in prompts]}
    sampling: dict[str, Any] = {"max_new_tokens": tokens, "temperature": TEMPERATURE, "seed": seed}
    answers = generate_cells(steered, plain, ways={}, scored=False, progress=False, **sampling)
    replies = [
        Reply(tuple(prompt_tokens(steered, as_prompt(one.prompt).message)), one.tokens) for one in answers if one.tokens
    ]
    if not replies:
        raise InputError("The model's plain answers are all empty.", "Give prompts that it answers.")
    return replies


def divergences(
    steered: SteeredModel, replies: Sequence[Reply], tones: Sequence[Tone], meter: Meter | None = None
) -> np.ndarray:
    """Measure the mean Kullback-Leibler divergence of toned models from the plain model, KL(plain ‖ toned).

    Args:
        steered: The model.
        replies: What the plain model answered, which every tone reads.
        tones: Tones at all tokens, those of the prompt included.
        meter: Counts the replies read.

    Returns:
        `[tones, replies]`, in nats a token of the answer.

    Raises:
        InputError: The model gives no numbers, plainly or in a tone.
        ToneError: A tone cannot be given.
    """
    import torch

    found = np.zeros((len(tones), len(replies)))
    with side_pass(steered.model), torch.inference_mode():
        for column, reply in enumerate(replies):
            plain = _logits(steered, reply, 1)[0].float().log_softmax(-1)
            shares = plain.exp()
            certainty = (shares * plain).sum(-1)
            rows = max(1, LOGITS // plain.numel())
            for begin in range(0, len(tones), rows):
                batch = list(tones[begin : begin + rows])
                with steered.steer(batch):
                    toned = _logits(steered, reply, len(batch))
                for row, logits in enumerate(toned, begin):  # one at a time, in float32
                    scores = logits.float()
                    nats = certainty - (shares * scores).sum(-1) + scores.logsumexp(-1)
                    found[row, column] = float(nats.mean())
                if meter is not None:
                    meter.advance(len(batch))
    if not np.isfinite(found).all():
        raise InputError("The model's probabilities are not all numbers.", "Load it in float32 or bfloat16.")
    return found.clip(min=0)  # rounding may leave a little less


def _logits(steered: SteeredModel, reply: Reply, rows: int) -> Tensor:
    """Return the logits from which each token of an answer was drawn, `[rows, tokens, vocabulary]`."""
    import torch

    ids = torch.tensor([[*reply.prompt, *reply.answer[:-1]]] * rows, dtype=torch.long, device="cpu")
    ids = ids.to(input_device(steered.model))
    logits: Tensor = steered.model(
        input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=len(reply.answer)
    ).logits
    return logits
