"""Does a thermostat hold its level, where a constant strength drifts?

20 held-out everyday prompts are answered in 120 tokens at temperature 0.8 under a thermostat for joy, and at a constant
strength. What the plain model reads in the finished answer is compared with the level, in standard deviations of
neutral text: mean distance over prompts, how many lie within .25, and how far the mean of each stretch of 30 tokens is
off. The constant strength is the one whose mean reading on development prompts comes nearest to the level.

    python -m tests.benchmarks.thermostat [--level 3] [--prompts 20] [--seed 0]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from tqdm.auto import tqdm

import emosteer
from emosteer import embedded
from emosteer.eval import load_prompts
from emosteer.eval.fluency import nats_per_token
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import bootstrap, show
from tests.benchmarks.tone import answers

TOKENS = 120
SAMPLING = {"do_sample": True, "temperature": 0.8, "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
STRETCH = 30


def measure(level: float, n_prompts: int, seed: int) -> list[dict]:
    """One row an arm."""
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    vectors = emosteer.EmotionVectors.from_pretrained(shipped_folder())
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    development, held_out = load_prompts("development")[:8], load_prompts("held_out")[:n_prompts]
    found = {
        strength: np.mean([_joy(steered, text)[0] for text in _say(steered, development, {"joy": strength}, seed)])
        for strength in tqdm(STRENGTHS, desc="constant strengths", disable=None, leave=False)
    }
    nearest = min(STRENGTHS, key=lambda strength: abs(found[strength] - level))
    arms = {
        "thermostat": emosteer.Thermostat({"joy": level}),
        f"constant {nearest:g}": {"joy": nearest},
        "plain": None,
    }
    rows = []
    for arm, tone in arms.items():
        texts = _say(steered, held_out, tone, seed)
        read = [_joy(steered, text) for text in texts]
        off = np.abs(np.array([mean for mean, _ in read]) - level)
        rows.append(
            {
                "arm": arm,
                "level": level,
                "texts": len(texts),
                "mean_reading": float(np.mean([mean for mean, _ in read])),
                "mean_distance": float(off.mean()),
                "interval": bootstrap(off),
                "within_quarter": float((off <= 0.25).mean()),
                "worst": float(off.max()),
                "stretch_distance": float(np.mean([np.abs(stretches - level).mean() for _, stretches in read])),
                "nats_a_token": float(
                    np.mean([nats_per_token(steered, p, t) for p, t in zip(held_out, texts, strict=True)])
                ),
            }
        )
    return rows


def _say(steered, prompts, tone, seed):
    return answers(steered, prompts, tone, seed, SAMPLING)


def _joy(steered, text) -> tuple[float, np.ndarray]:
    """The reading of a finished text, and of each stretch of it."""
    reading = steered.read(text)
    scores = np.array(reading.token_scores["joy"])
    stretches = [scores[i : i + STRETCH] for i in range(0, len(scores) - STRETCH // 2, STRETCH)]
    return reading.scores["joy"], np.array([np.nanmean(one) for one in stretches])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", type=float, default=3.0)
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    show("Holding joy at a level", measure(options.level, options.prompts, options.seed), seed=options.seed)
