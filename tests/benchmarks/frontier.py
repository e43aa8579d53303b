"""How far conditioning the plain model could go: the best of N plain answers, as the limit of any way of steering.

Plain answers to held-out prompts are sampled, and for each basic emotion the one is kept in which the plain model's own
readout finds most of it, or, as the oracle that no method may use, in which the judge itself does. Reported for several
N: hit rate by both judges and the cost against plain answers, in nats a token.

    python -m tests.benchmarks.frontier [--prompts 20] [--answers 16]
"""

from __future__ import annotations

import argparse

import numpy as np

import emosteer
from emosteer import embedded
from emosteer.calibration.bench import tones
from emosteer.eval import load_prompts
from emosteer.eval.sampling import Cell, generate_cells
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.continuing import BASIC, Judges, pooled
from tests.benchmarks.report import show


def measure(n_prompts: int, n: int) -> list[dict]:
    """A row for every way of choosing and number of answers."""
    model, tokenizer = embedded.load()
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.from_pretrained(shipped_folder()))
    judges = Judges()
    prompts = load_prompts("held_out")[:n_prompts]
    plain = {Cell(None, 0.0, control="unsteered"): [(prompt, k) for prompt in prompts for k in range(n)]}
    answers = generate_cells(steered, plain, ways={})
    texts = [answer.text for answer in answers]
    nats = np.array([np.nan if answer.nats is None else answer.nats for answer in answers])
    shares = judges.judges["goemotions"].probabilities(texts, BASIC)
    read = tones(steered, answers)
    scores = {
        "readout": {emotion: read[:, steered.readout.emotions.index(emotion)] for emotion in BASIC},
        "judge (oracle)": shares,
    }
    rows = []
    for by, found in scores.items():
        for size in [k for k in (1, 2, 4, 8, 16, 32, 96) if k <= n]:
            parts = []
            for emotion in BASIC:
                among = np.asarray(found[emotion]).reshape(n_prompts, n)[:, :size]
                best = np.arange(n_prompts) * n + np.nan_to_num(among, nan=-np.inf).argmax(1)
                parts.append((judges.hits([texts[i] for i in best], emotion), nats[best] - np.nanmean(nats)))
            rows.append({"chosen_by": by, "of": size, **pooled(parts)})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--answers", type=int, default=16)
    options = parser.parse_args()
    show("Best of N plain answers", measure(options.prompts, options.answers), **vars(options))
