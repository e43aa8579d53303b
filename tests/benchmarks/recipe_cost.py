"""What does the recipe cost, once an emotion is known?

Process CPU time, on one thread, of new tokens of the embedded model, sampled: plainly, and with the natural recipe for
one emotion and for an `Affect`. All arms sample with the same processors (temperature, top-k, top-p). The arms run in
turn in every round, in a new order each time; the ratio to the plain arm is taken within a round, and its median over
rounds is reported with a bootstrap interval.

Beside them stand the parts, which can be told apart from the noise of a shared machine: what is paid once a call (the
vocabulary of the tone, the first time, when the model is asked, and later; the plan and its hooks), and at a token (the
recipe's own work, and the hooks of the steered layers). "by parts" is the ratio that later calls add up to.

    python -m tests.benchmarks.recipe_cost [--rounds 15] [--tokens 64]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import emosteer
from emosteer import embedded
from emosteer.layers import decoder_layers
from emosteer.steering import vocabulary as room
from emosteer.steering.recipes import RECIPES, Vocabulary
from emosteer.steering.vocabulary import vocabulary
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import bootstrap, show

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_k": 50, "top_p": 0.9, "pad_token_id": 2}


def cpu(work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def calls(steered: emosteer.SteeredModel, rounds: int, tokens: int) -> list[dict]:
    inputs = steered.prompt("How was your morning?")
    options = {**SAMPLING, "max_new_tokens": tokens, "min_new_tokens": tokens}
    natural = {"recipe": "natural"}
    arms = {
        "plain": {},
        "plain again": {},
        "natural, one emotion": {"emotion": {"joy": 1.0}, **natural},
        "natural, an affect": {"emotion": emosteer.Affect(-0.6, 0.8), **natural},
    }

    def run(name: str) -> float:
        torch.manual_seed(0)
        return cpu(lambda: steered.generate(**inputs, **arms[name], **options))

    for name in arms:
        run(name)
    times = {name: [] for name in arms}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(list(arms)):
            times[name].append(run(name))
    rows = []
    for name, seconds in times.items():
        ratios = np.array(seconds) / np.array(times["plain"])
        rows.append(
            {
                "what": f"{tokens} tokens, {name}",
                "cpu_ms": 1e3 * float(np.median(seconds)),
                "ratio": float(np.median(ratios)),
                "interval": bootstrap(ratios, np.median),
            }
        )
    return rows


def parts(steered: emosteer.SteeredModel, tokens: int, plain: float) -> list[dict]:
    """Rows for each part, and for what parts add to `tokens` tokens that take `plain` milliseconds."""
    model, vectors, rows = steered.model, steered.vectors, []
    blocks, hidden = decoder_layers(model), torch.randn(1, 1, vectors.hidden_size)

    def part(name: str, work, repeats: int = 30) -> float:
        work()
        spent = 1e3 * float(np.median([cpu(work) for _ in range(repeats)]))
        rows.append({"what": name, "cpu_ms": spent, "ratio": "", "interval": ""})
        return spent

    part("a steer block: does the model fit", lambda: vectors.check_model(model))
    processor = Vocabulary(model, vectors, [{"joy": 1.0}], RECIPES["natural"], 32)
    ids, scores = torch.arange(32 + tokens // 2)[None], torch.randn(1, model.config.vocab_size)
    at_a_token = part("a token: bonus and limit", lambda: processor(ids, scores))
    for name, tone in (("one emotion", {"joy": 1.0}), ("an affect", emosteer.Affect(-0.6, 0.8))):

        def first(tone=tone):
            room._kept.clear()
            vocabulary(model, vectors, [tone])

        def block(tone=tone):
            with steered.steer(tone):
                pass

        part(f"{name}: vocabulary, first", first, 3)
        once = part(f"{name}: vocabulary, later", lambda tone=tone: vocabulary(model, vectors, [tone]))
        once += part(f"{name}: plan and hooks", block)
        with steered.steer(tone) as steering:
            model.generate(ids, max_new_tokens=2, do_sample=False, pad_token_id=2)

            def hooks(steering=steering):
                for layer in steering.plan.sites:
                    steering._after(layer, blocks[layer], (), hidden)

            each = at_a_token + part(f"{name}: hooks of {len(steering.plan.sites)} layers at a token", hooks)
        added = once + tokens * each
        rows.append(
            {"what": f"{name}: {tokens} tokens by parts", "cpu_ms": added, "ratio": 1 + added / plain, "interval": ""}
        )
    return rows


def measure(rounds: int, tokens: int) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.from_pretrained(shipped_folder()))
    whole = calls(steered, rounds, tokens)
    return whole + parts(steered, tokens, whole[0]["cpu_ms"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    show("What the recipe costs", measure(options.rounds, options.tokens), **vars(options))
