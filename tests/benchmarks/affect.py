"""Does valence and arousal of the text follow what was asked for?

25 points (a grid of five by five) × 8 held-out everyday prompts are answered with `Affect`, 40 tokens at temperature
0.8. The finished text is read by the plain model, never the activations that were steered, and by a ridge regression on
MiniLM sentence embeddings trained on human ratings of sentences (EmoBank, Buechel & Hahn 2017), where its file is
given. Reported is Spearman's correlation of the requested with the measured value, over the 200 texts and over the 25
means, with random directions of equal norm beside it.

    python -m tests.benchmarks.affect [--emobank emobank.csv] [--prompts 8] [--seed 0] [--split held_out]
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from tqdm.auto import tqdm

import emosteer
from emosteer import embedded
from emosteer.eval import load_prompts
from emosteer.eval.judges import SentenceEncoder
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import show
from tests.benchmarks.tone import answers

STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
SAMPLING = {"do_sample": True, "temperature": 0.8, "max_new_tokens": 40}
AXES = ("valence", "arousal")


def emobank_head(file: Path):
    """Texts → `[n, 2]` human valence and arousal, by ridge regression on sentence embeddings; and how well."""
    with file.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if len(row["text"]) > 15]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:5000]]
    encoder = SentenceEncoder()
    features = encoder.encode([row["text"] for row in rows])
    rated = np.array([[float(row["V"]), float(row["A"])] for row in rows])
    ridge = RidgeCV(np.logspace(-2, 2, 9)).fit(features[:4000], rated[:4000])
    found = ridge.predict(features[4000:])
    held_out = {axis: float(np.corrcoef(found[:, i], rated[4000:, i])[0, 1]) for i, axis in enumerate(AXES)}
    return lambda texts: ridge.predict(encoder.encode([text or "." for text in texts])), held_out


def measure(prompts, seed: int, head) -> list[dict]:
    """One row for each arm, judge and axis."""
    torch.set_num_threads(1)
    model, tokenizer = embedded.load()
    vectors = emosteer.EmotionVectors.from_pretrained(shipped_folder())
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    random = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random_like(vectors, seed=0))
    points = [(valence, arousal) for valence in STEPS for arousal in STEPS]
    rows = []
    for arm, voice in (("tone", steered), ("random", random)):
        texts = []
        for point in tqdm(points, desc=arm, unit="point", disable=None, leave=False):
            texts += answers(voice, prompts, emosteer.Affect(*point), seed, SAMPLING)
        judges = {"plain model": np.array([_read(steered, text) for text in texts])}
        if head is not None:
            judges["EmoBank head"] = head(texts)
        for judge, measured in judges.items():
            for i, axis in enumerate(AXES):
                asked = np.repeat([point[i] for point in points], len(prompts))
                means = measured[:, i].reshape(len(points), -1).mean(1)
                rows.append(
                    {
                        "arm": arm,
                        "judge": judge,
                        "axis": axis,
                        "texts": len(texts),
                        "rho_texts": float(spearmanr(asked, measured[:, i])[0]),
                        "interval": _interval(asked, measured[:, i], len(prompts)),
                        "rho_points": float(spearmanr([point[i] for point in points], means)[0]),
                        "lowest": float(means.min()),
                        "highest": float(means.max()),
                    }
                )
    return rows


def _read(steered, text) -> tuple[float, float]:
    try:
        reading = steered.read(text)
    except emosteer.EmosteerError:  # an empty answer, or a single token
        return 0.0, 0.0
    return reading.valence, reading.arousal


def _interval(asked, measured, prompts: int) -> tuple[float, float]:
    """95 % bootstrap interval of the correlation over texts, drawn by prompt."""
    rng = np.random.default_rng(0)
    asked, measured = asked.reshape(-1, prompts), measured.reshape(-1, prompts)
    draws = (rng.integers(prompts, size=prompts) for _ in range(1000))
    found = [spearmanr(asked[:, drawn].ravel(), measured[:, drawn].ravel())[0] for drawn in draws]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--emobank", type=Path)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", default="held_out")
    options = parser.parse_args()
    head, accuracy = emobank_head(options.emobank) if options.emobank else (None, None)
    chosen = load_prompts(options.split)[: options.prompts]
    about = {"prompts": len(chosen), "split": options.split, "seed": options.seed, "head_r_held_out": accuracy}
    show("Affect: requested against measured", measure(chosen, options.seed, head), **about)
