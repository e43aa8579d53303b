"""Does strength 1.0 move every model by the same? How far each emotion does, on prompts that no dose was measured on.

The plain model answers held-out prompts (a base model continues held-out openings), sampled at temperature 0.8. In each
tone at strength 1.0 the model then reads these answers: the mean KL(plain ‖ toned) a token is held against the target
of the quick calibration. Without vectors to measure, they are extracted with the default settings, which also gives the
share of the time that calibrating takes.

    python -m tests.benchmarks.divergence
    python -m tests.benchmarks.divergence --model Qwen/Qwen2.5-1.5B-Instruct [--vectors FOLDER] [--dtype bfloat16]
    PYTHONPATH=.venv/gemma python -m tests.benchmarks.divergence --model gemma
    PYTHONPATH=.venv/qwen python -m tests.benchmarks.divergence --model qwen
"""

from __future__ import annotations

import argparse
import importlib
import time

import numpy as np
import torch

import emosteer
from emosteer import extraction
from emosteer.calibration import DIVERGENCE, with_quick_doses
from emosteer.calibration.divergence import divergences, plain_replies
from emosteer.eval.language import language_of
from emosteer.eval.prompts import spread, usual_prompts
from emosteer.models.loading import load_model
from tests.benchmarks.report import bootstrap, show

WITHIN = 0.25


def load(name: str, dtype: str):
    """A model by the name that the command line takes, or one of those that the benchmarks have from packages."""
    if name in ("gemma", "qwen"):
        return importlib.import_module(f"tests.benchmarks.{name}").load()
    return load_model(name, **({"dtype": getattr(torch, dtype)} if name != "embedded" else {}))


def built(model, tokenizer) -> tuple[emosteer.EmotionVectors, dict]:
    """What `emosteer.extract` makes, and the seconds of its two parts."""
    begin = time.perf_counter()
    bare = extraction.extract(model, tokenizer, emosteer.ConceptSet.load("en"), progress=False)
    extracted = time.perf_counter()
    vectors = with_quick_doses(model, tokenizer, bare, progress=False)
    seconds = {"extraction": extracted - begin, "calibration": time.perf_counter() - extracted}
    return vectors, {**seconds, "share": seconds["calibration"] / seconds["extraction"]}


def measure(steered: emosteer.SteeredModel, prompts: int, tokens: int) -> list[dict]:
    """A row for each emotion."""
    chat = bool(steered.tokenizer.chat_template)
    asked = spread(usual_prompts("held_out", language_of(steered.vectors), chat=chat), prompts)
    names = steered.vectors.emotions
    found = divergences(steered, plain_replies(steered, asked, tokens=tokens), [{name: 1.0} for name in names])
    return [
        {
            "emotion": name,
            "calibration": dose.calibration,
            "dose": dose.dose,
            "divergence": float(nats.mean()),
            "interval": bootstrap(nats),
            "of_target": float(nats.mean()) / DIVERGENCE,
            "within": bool(abs(nats.mean() / DIVERGENCE - 1) <= WITHIN),
        }
        for name, nats, dose in zip(names, found, map(steered.vectors.dose, names), strict=True)
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--vectors", help="a folder or a repository; by default they are extracted")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    parts = load(options.model, options.dtype)
    vectors, seconds = (
        (emosteer.EmotionVectors.from_pretrained(options.vectors), {}) if options.vectors else built(*parts)
    )
    rows = measure(emosteer.SteeredModel(*parts, vectors), options.prompts, options.tokens)
    print(f"{sum(row['within'] for row in rows)} of {len(rows)} within {WITHIN:.0%} of {DIVERGENCE} nats a token.")
    if seconds:
        print("Seconds: {extraction:.0f} for extraction, {calibration:.0f} ({share:.0%}) for doses.".format(**seconds))
    show(
        "KL at strength 1.0",
        rows,
        **vars(options),
        target=DIVERGENCE,
        within=sum(row["within"] for row in rows),
        of=len(rows),
        mean=float(np.mean([row["divergence"] for row in rows])),
        seconds=seconds,
    )
