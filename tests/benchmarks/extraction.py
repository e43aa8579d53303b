"""What does extraction cost beyond reading the texts?

Process CPU time, on one thread, of extracting all emotions with the embedded model, over that of a bare forward pass of
the decoder (no head, no hooks) over the same tokens in the same batches. The two run in turn, A B A B.

    python -m tests.benchmarks.extraction [--rounds 3]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

import emosteer
from emosteer import embedded
from emosteer.layers import decoder
from tests.benchmarks.report import show

BATCH = 32


def batches(model, tokenizer, concepts):
    """The batches that extraction runs, seen by a hook on the decoder."""
    seen = []
    handle = decoder(model).register_forward_pre_hook(
        lambda _m, _a, inputs: seen.append(dict(inputs)), with_kwargs=True
    )
    emosteer.extract(model, tokenizer, concepts, batch_size=BATCH, progress=False)
    handle.remove()
    return seen


def bare(model, seen):
    with torch.inference_mode():
        for inputs in seen:
            decoder(model)(**inputs)


def measure(rounds: int) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    concepts = emosteer.ConceptSet.load("en")
    seen = batches(model, tokenizer, concepts)  # also the warm-up
    times = {"bare forward": [], "extract": []}
    for _ in range(rounds):
        for name, run in (
            ("bare forward", lambda: bare(model, seen)),
            ("extract", lambda: emosteer.extract(model, tokenizer, concepts, batch_size=BATCH, progress=False)),
        ):
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    ratios = np.array(times["extract"]) / np.array(times["bare forward"])
    tokens = int(sum(inputs["attention_mask"].sum() for inputs in seen))
    return [
        {
            "emotions": len(concepts.emotions),
            "tokens": tokens,
            "bare_cpu_s": float(np.median(times["bare forward"])),
            "extract_cpu_s": float(np.median(times["extract"])),
            "ratio": float(np.median(ratios)),
            "range": (float(ratios.min()), float(ratios.max())),
        }
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    show("Extraction over a bare forward pass", measure(options.rounds), rounds=options.rounds)
