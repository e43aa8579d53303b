"""What does steering cost while a model generates?

Process CPU time, on one thread, of 64 new tokens (greedy, the embedded model): with no tone, with one steered layer,
with all layers, with one layer and a live readout, with the tone baked into a plain model; and of a batch of 8 rows
with no tone and with a tone of its own in each row. The arms run in turn in every round, in a new order each time; the
ratio to the plain arm is taken within a round, and its median over rounds is reported with a bootstrap interval.

    python -m tests.benchmarks.generation [--rounds 15] [--batches]
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack

import numpy as np
import torch

import emosteer
from emosteer import embedded
from emosteer.eval import load_prompts
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import bootstrap, show

TOKENS = 64
BATCH = 8
TINY = 1e-3  # so small a strength that every arm says the same words


def measure(rounds: int, *, only_batches: bool = False) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    vectors = emosteer.EmotionVectors.from_pretrained(shipped_folder())
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    baked = emosteer.bake(model, vectors, {"joy": TINY})
    one = steered.prompt("How was your morning?")
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False)
        for prompt in load_prompts("development")[:BATCH]
    ]
    eight = tokenizer(texts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
    rows = [{emotion: TINY} for emotion in vectors.emotions[:BATCH]]
    options = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False, "pad_token_id": 0}

    def seconds(speaker, inputs, *blocks) -> float:
        start = time.process_time()
        with ExitStack() as stack:
            for block in blocks:
                stack.enter_context(block)
            speaker.generate(**inputs, **options)
        return time.process_time() - start

    def tone(layers):
        return steered.steer({"joy": TINY}, layers=layers)

    arms = {
        "plain": ("plain", lambda: seconds(model, one)),
        "one layer": ("plain", lambda: seconds(model, one, tone((15,)))),
        "all layers": ("plain", lambda: seconds(model, one, tone(vectors.layers))),
        "one layer, live readout": ("plain", lambda: seconds(model, one, tone((15,)), steered.monitor())),
        "baked": ("plain", lambda: seconds(baked, one)),
        "plain batch": ("plain batch", lambda: seconds(model, eight)),
        "a tone in each row": ("plain batch", lambda: seconds(model, eight, steered.steer(rows))),
    }
    if only_batches:
        arms = {name: arm for name, arm in arms.items() if arm[0] == "plain batch"}
    times = {name: [] for name in arms}
    order = np.random.default_rng(0)
    for turn in range(-1, rounds):
        for name in order.permutation(list(arms)):
            taken = arms[name][1]()
            if turn >= 0:  # the first round warms up
                times[name].append(taken)
    found = []
    for name, (base, _) in arms.items():
        ratios = np.array(times[name]) / np.array(times[base])
        found.append(
            {
                "arm": name,
                "against": base,
                "rounds": rounds,
                "cpu_s": float(np.median(times[name])),
                "ratio": float(np.median(ratios)),
                "interval": bootstrap(ratios, np.median),
            }
        )
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", action="store_true", help="only the arms with batches")
    options = parser.parse_args()
    found = measure(options.rounds, only_batches=options.batches)
    show(f"Generating {TOKENS} tokens", found, rounds=options.rounds)
