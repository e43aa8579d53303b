"""What benchmarks of text generation share: continuing prompts in batches, what that costs, and who judges it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch

from emosteer.eval import EmbeddingJudge
from emosteer.eval.steering.manners import disclaimer, refusal
from tests.benchmarks.report import bootstrap

BASIC = ("joy", "sadness", "anger", "fear", "disgust", "surprise")
SAMPLING = {"do_sample": True, "temperature": 0.8, "max_new_tokens": 32}
ROWS = 16  # scored at a time: logits over a large vocabulary take much memory


@dataclass(frozen=True)
class Continuations:
    """What was said after some prompts.

    Args:
        texts: As text.
        tokens: As it was generated, up to the token that ends it.
        nats: Under the plain model, after the plain prompts, a token; NaN if nothing was said. `[n]`
    """

    texts: list[str]
    tokens: list[list[int]]
    nats: np.ndarray


def continued(model, tokenizer, prompts: list[str], seed: int, *, generate=None, plain_prompts=None) -> Continuations:
    """One sampled continuation of each prompt, in one batch.

    Args:
        model: The plain model, which says what it costs.
        tokenizer: Its own.
        prompts: As the model reads them, special tokens included.
        seed: Of the sampling.
        generate: What generates, if not the plain model.
        plain_prompts: What the cost is measured after, if that is not what was continued.
    """
    batch = tokenizer(prompts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
    torch.manual_seed(seed)
    output = (generate or model.generate)(**batch, pad_token_id=tokenizer.pad_token_id, **SAMPLING)
    ends = model.generation_config.eos_token_id
    ends = {ends, tokenizer.pad_token_id} if isinstance(ends, int) else {*ends, tokenizer.pad_token_id}
    said = output[:, batch["input_ids"].shape[1] :].tolist()
    tokens = [list(takewhile(lambda token: token not in ends, row)) for row in said]
    texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
    before = tokenizer(plain_prompts or prompts, add_special_tokens=False)["input_ids"]
    return Continuations(texts, tokens, nats(model, before, tokens))


def nats(model, prompts: list[list[int]], answers: list[list[int]]) -> np.ndarray:
    """Mean negative log likelihood of each answer after its prompt, in nats a token; NaN where it is empty. `[n]`."""
    return np.concatenate(
        [_nats(model, prompts[i : i + ROWS], answers[i : i + ROWS]) for i in range(0, len(answers), ROWS)]
    )


@torch.inference_mode()
def _nats(model, prompts, answers):
    # Padded on the right, where causal attention does not look.
    rows = [torch.tensor([*prompt, *answer]) for prompt, answer in zip(prompts, answers, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    first = min(map(len, prompts))
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=ids.shape[1] - first + 1).logits[:, :-1]
    surprisal = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), ids[:, first:], reduction="none")
    spans = [
        (len(prompt) - first, len(prompt) - first + len(answer))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    return np.array([float(row[a:b].mean()) for row, (a, b) in zip(surprisal, spans, strict=True)])


class Judges:
    """Both judges: of all six basic emotions, and of the five that the second one knows."""

    def __init__(self) -> None:
        self.judges = {name: EmbeddingJudge(name) for name in ("goemotions", "brighter")}

    def hits(self, texts: list[str], emotion: str) -> dict[str, np.ndarray]:
        """Judge → whether it finds the emotion before all others that it is asked about; empty if it knows it not.

        Refusals and disclaimers are no hits.
        """
        found, answered = {}, np.array([not (refusal(text) or disclaimer(text)) for text in texts], dtype=bool)
        for name, judge in self.judges.items():
            known = [one for one in BASIC if one in judge.labels]
            if emotion in known:
                shares = judge.probabilities(texts, known)
                found[name] = (np.stack(list(shares.values())).argmax(0) == known.index(emotion)) & answered
            else:
                found[name] = np.zeros(0, dtype=bool)
        return found


def figures(hits: dict[str, np.ndarray], costs: np.ndarray) -> dict:
    """What a row of a table says of some texts: n, cost and the hit rates by both judges, with 95 % intervals."""
    costs = costs[~np.isnan(costs)]
    row = {"n": len(hits["goemotions"]), "cost_nats": float(costs.mean()), "cost_interval": bootstrap(costs)}
    for name, found in hits.items():
        row[f"{name}_hit_rate"] = float(found.mean()) if len(found) else None
        row[f"{name}_interval"] = bootstrap(found) if len(found) else ()
    return row


def pooled(parts: list[tuple[dict[str, np.ndarray], np.ndarray]]) -> dict:
    """The same over the texts of several emotions."""
    hits = {name: np.concatenate([found[name] for found, _ in parts]) for name in parts[0][0]}
    return figures(hits, np.concatenate([costs for _, costs in parts]))
