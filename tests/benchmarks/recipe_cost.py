"""What does the recipe cost, once an emotion is known?

Process CPU time, on one thread, of 64 new tokens of the embedded model, sampled: plainly, and with the natural recipe
for one emotion and for an `Affect`. All arms sample with the same processors (temperature, top-k, top-p) and with a
strength so small that the bonus decides nothing. The arms run in turn in every round, in a new order each time; the
ratio to the plain arm is taken within a round, and its median over rounds is reported with a bootstrap interval. On a
shared machine the intervals are wide; the ratio of the fastest runs is less disturbed.

Beside them stand the parts: what is paid once a call (a steer block, a mixture, and the vocabulary of a tone, the first
time, when the model is asked, and later), and the recipe's own work at a token.

    python -m tests.benchmarks.recipe_cost [--rounds 15] [--tokens 64]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import emosteer
from emosteer import embedded
from emosteer.steering import vocabulary as room
from emosteer.steering.affect import mix
from emosteer.steering.recipes import RECIPES, Vocabulary
from emosteer.steering.vocabulary import vocabulary
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import bootstrap, show

TINY = 1e-3
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
        "natural, one emotion": {"emotion": {"joy": TINY}, **natural},
        "natural, an affect": {"emotion": emosteer.Affect(TINY, TINY), **natural},
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
                "fastest": min(seconds) / min(times["plain"]),
            }
        )
    return rows


def parts(steered: emosteer.SteeredModel, repeats: int = 20) -> list[dict]:
    model, vectors, affect = steered.model, steered.vectors, emosteer.Affect(-0.6, 0.8)

    def first(tone):
        room._kept.clear()
        vocabulary(model, vectors, [tone])

    processor = Vocabulary(model, vectors, [{"joy": 1.0}], RECIPES["natural"], 32)
    ids, scores = torch.arange(64)[None], torch.randn(1, model.config.vocab_size)
    works = {
        "a steer block": lambda: emosteer.steer(model, vectors, {"joy": 1.0}),
        "a mixture, later": lambda: mix(vectors, affect),
        "vocabulary of an emotion, first": lambda: first({"joy": 1.0}),
        "vocabulary of an emotion, later": lambda: vocabulary(model, vectors, [{"joy": 1.0}]),
        "vocabulary of an affect, first": lambda: first(affect),
        "vocabulary of an affect, later": lambda: vocabulary(model, vectors, [affect]),
        "a token": lambda: processor(ids, scores),
    }
    rows = []
    for name, work in works.items():
        work()
        seconds = [cpu(work) for _ in range(3 if name.endswith("first") else repeats)]
        rows.append(
            {"what": name, "cpu_ms": 1e3 * float(np.median(seconds)), "ratio": "", "interval": "", "fastest": ""}
        )
    return rows


def measure(rounds: int, tokens: int) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.from_pretrained(shipped_folder()))
    return calls(steered, rounds, tokens) + parts(steered)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    show("What the recipe costs", measure(options.rounds, options.tokens), **vars(options))
