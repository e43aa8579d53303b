"""What do tones in the logits cost while a model generates?

Process CPU time, on one thread, of 32 new tokens (greedy, the embedded model): plainly, steered, and with a logits
processor of each kind, alone and inside a block that steers. The arms run in turn in every round, in a new order each
time; the ratio to the plain one is taken within a round, and its median over rounds is reported with a bootstrap
interval.

    python -m tests.benchmarks.logits [--rounds 15]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import emosteer
from emosteer import embedded
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import bootstrap, show

TOKENS = 32
JOY, CALM = {"joy": 1e-3}, {"calm": 1e-3}  # so little that every arm says the same words

# Arm → what steers around it, the processor's own tone and method, and its extra passes a token.
ARMS = {
    "plain": (None, None, None, 0),
    "steered": (JOY, None, None, 0),
    "limit alone": (None, None, "contrast", 0),
    "bias": (None, JOY, "bias", 0),
    "steered, limit": (JOY, None, "contrast", 1),
    "contrast": (None, JOY, "contrast", 1),
    "steered, bias": (JOY, CALM, "bias", 1),
    "steered, contrast": (JOY, CALM, "contrast", 2),
}


def measure(rounds: int) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    vectors = emosteer.EmotionVectors.from_pretrained(shipped_folder())
    inputs = emosteer.SteeredModel(model, tokenizer, vectors).prompt("How was your morning?")
    options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 2}

    def run(outer, own, method) -> float:
        processors = []
        if method is not None:
            processors = [emosteer.EmotionLogitsProcessor(model, vectors, own, method=method)]
        start = time.process_time()
        with emosteer.steer(model, vectors, outer):
            model.generate(**inputs, **options, logits_processor=processors)
        return time.process_time() - start

    for outer, own, method, _ in ARMS.values():
        run(outer, own, method)
    times = {name: [] for name in ARMS}
    order = np.random.default_rng(0)
    for _ in range(rounds):
        for name in order.permutation(list(ARMS)):
            times[name].append(run(*ARMS[name][:3]))
    plain = np.array(times["plain"])
    rows = []
    for name, (*_, passes) in ARMS.items():
        ratios = np.array(times[name]) / plain
        rows.append(
            {
                "arm": name,
                "extra_passes": passes,
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
    show(f"Generating {TOKENS} tokens with logits processors", measure(options.rounds), rounds=options.rounds)
