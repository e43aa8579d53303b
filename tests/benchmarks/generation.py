"""What does steering cost while a model generates?

Process CPU time, on one thread, of 64 new tokens (greedy, the embedded model) with no tone, with one steered layer and
with all layers. The arms run in turn in every round, in a new order each time; the ratio is taken within a round, and
its median over rounds is reported with a bootstrap interval.

    python -m tests.benchmarks.generation [--rounds 15]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import emosteer
from emosteer import embedded
from emosteer.quickstart import embedded_vectors
from tests.benchmarks.report import bootstrap, show

TOKENS = 64
TINY = 1e-3  # so small a strength that every arm says the same words


def measure(rounds: int) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    vectors, _ = embedded_vectors(model, tokenizer)
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    inputs = steered.prompt("How was your morning?")
    arms = {"plain": None, "one layer": (15,), "all layers": vectors.layers}
    options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}

    def run(layers) -> float:
        start = time.process_time()
        with steered.steer(None if layers is None else {"joy": TINY}, layers=layers):
            model.generate(**inputs, **options)
        return time.process_time() - start

    for layers in arms.values():
        run(layers)
    times = {name: [] for name in arms}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(list(arms)):
            times[name].append(run(arms[name]))
    plain = np.array(times["plain"])
    rows = []
    for name in arms:
        ratios = np.array(times[name]) / plain
        rows.append(
            {
                "arm": name,
                "rounds": rounds,
                "cpu_s": float(np.median(times[name])),
                "ratio": float(np.median(ratios)),
                "interval": bootstrap(ratios, np.median),
            }
        )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    show(f"Generating {TOKENS} tokens", measure(options.rounds), rounds=options.rounds)
