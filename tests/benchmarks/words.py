"""What do the states of words cost beyond reading them?

Process CPU time, on one thread, of `word_states` with the embedded model (tokenizing, pooling at every layer of the
grid, writing the cache), over that of a bare forward pass of the decoder over the same tokens in the same batches, all
layers. The two run in turn, A B A B. The words are whole words of the tokenizer's vocabulary.

    python -m tests.benchmarks.words [--words 14000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from emosteer import embedded
from emosteer.eval.alignment.frames import WORDS
from emosteer.eval.alignment.states import BATCH, layer_grid, word_states
from emosteer.layers import decoder
from tests.benchmarks.report import show


def vocabulary(tokenizer, n: int) -> list[str]:
    pieces = (tokenizer.decode([i]) for i in range(len(tokenizer)))
    words = dict.fromkeys(piece.strip() for piece in pieces if piece.startswith(" ") and piece.strip().isalpha())
    return [word for word in words if len(word) > 2][:n]


def bare(model, batches) -> None:
    with torch.inference_mode():
        for ids, mask in batches:
            decoder(model)(input_ids=ids, attention_mask=mask, use_cache=False)


def measure(n: int, rounds: int) -> list[dict]:
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    words, frame, layers = vocabulary(tokenizer, n), WORDS["en"][1], layer_grid(model)
    texts = sorted((tokenizer(frame.replace("{}", word))["input_ids"] for word in words), key=len, reverse=True)
    batches = []
    for begin in range(0, len(texts), BATCH):
        rows = texts[begin : begin + BATCH]
        ids, mask = torch.zeros(2, len(rows), len(rows[0]), dtype=torch.long)
        for row, text in enumerate(rows):
            ids[row, : len(text)], mask[row, : len(text)] = torch.tensor(text), 1
        batches.append((ids, mask))
    bare(model, batches[:2])  # warm-up
    times = {"bare": [], "states": []}
    for _ in range(rounds):
        begin = time.process_time()
        bare(model, batches)
        times["bare"].append(time.process_time() - begin)
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            word_states(model, tokenizer, words, frame, layers=layers, cache=Path(folder), progress=False)
            times["states"].append(time.process_time() - begin)
    ratios = np.array(times["states"]) / np.array(times["bare"])
    return [
        {
            "words": len(words),
            "tokens": sum(map(len, texts)),
            "bare_cpu_s": float(np.median(times["bare"])),
            "states_cpu_s": float(np.median(times["states"])),
            "ratio": float(np.median(ratios)),
            "range": (float(ratios.min()), float(ratios.max())),
        }
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--words", type=int, default=14_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    show("States of words over a bare forward pass", measure(options.words, options.rounds), rounds=options.rounds)
