"""How the emotion spaces of real models agree with human ratings: the embedded one, and two multilingual ones.

The norms are files that you have (see emosteer.eval.norms for what is read). The multilingual models come as Python
packages: Gemma 3 270M (terms of use of its own: to measure with, not to redistribute) and Qwen2.5-Coder-1.5B-Instruct,
whose report goes on the card of its vectors.

    python -m tests.benchmarks.alignment --norms glasgow_norms.csv --categories emotion_categories.csv
    make bench-alignment OPTIONS="--model gemma --norms glasgow_norms.csv --norms Yi-2025.tsv …"
    PYTHONPATH=.venv/qwen python -m tests.benchmarks.alignment --model qwen --languages en,zh,es,de \
        --output report --card vectors/qwen2.5-coder-1.5b-instruct-en-zh
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import emosteer
from emosteer import embedded
from emosteer.embedded import cache_dir
from emosteer.eval.alignment import evaluate_alignment
from emosteer.eval.norms import parse_norms
from emosteer.vectors.records import Record, put
from emosteer.vectors.shipped import shipped_folder
from tests.benchmarks.report import show


def load(name: str) -> emosteer.SteeredModel:
    if name == "embedded":
        parts = embedded.load()
        return emosteer.SteeredModel(*parts, emosteer.EmotionVectors.from_pretrained(shipped_folder()))
    if name == "qwen":
        from tests.benchmarks import qwen

        return qwen.load_steered()
    from tests.benchmarks import gemma

    parts = gemma.load()
    return emosteer.SteeredModel(*parts, emosteer.extract(*parts, emosteer.ConceptSet.load("en,zh")))


def rows(report) -> list[dict]:
    """Every figure of a report on a line of its own."""
    found = []

    def add(what: str, of: str, measure, control=None) -> None:
        found.append(
            {
                "what": what,
                "of": of,
                "value": measure.value,
                "interval": (measure.low, measure.high),
                "p": measure.p,
                "n": measure.n,
                "input embeddings": control and control.value,
            }
        )

    for shape in report.geometry:
        for name, measure in shape.measures.items():
            add(name, f"{shape.language}, {shape.ratings}, layer {shape.layer}", measure, shape.control.get(name))
    for ceiling in report.ceilings:
        for name, measure in ceiling.measures.items():
            add(f"human: {name}", " / ".join(ceiling.between), measure)
    for words in report.words:
        of = f"{words.norms}, {words.language}"
        for axis in ("valence", "arousal"):
            add(f"words, states: {axis}", of, words.full.r[axis], words.controls["input_embeddings"].r[axis])
            add(f"words, directions: {axis}", of, words.directions.r[axis])
            add(f"words, directions over random: {axis}", of, words.advantage[axis])
            for name, control in words.controls.items():
                add(f"words, control {name}: {axis}", of, control.r[axis])
    for one in report.transfers:
        of = f"{one.source} → {one.target}"
        for axis in ("valence", "arousal"):
            add(f"transfer: {axis}", of, one.prediction.r[axis], one.control.r[axis])
        add("transfer: arousal given valence", of, one.arousal_given_valence)
        add("transfer: arousal beyond valence", of, one.arousal_beyond_valence)
    for pair in report.pairs:
        of = " → ".join(pair.languages)
        for name in ("procrustes", "identified", "rsa", "shared"):
            add(f"languages: {name}", of, getattr(pair, name))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("embedded", "gemma", "qwen"), default="embedded")
    parser.add_argument("--norms", action="append", default=[], help="as for `emosteer eval alignment`")
    parser.add_argument("--languages", type=lambda names: names.split(","), help="by default of vectors and norms")
    parser.add_argument("--categories", type=Path)
    parser.add_argument("--output", type=Path, help="write the whole report there")
    parser.add_argument("--card", type=Path, help="folder of vectors that the report is put into, of --output")
    options = parser.parse_args()
    norms = [parse_norms(one) for one in options.norms]
    steered = load(options.model)
    begin, cpu = time.perf_counter(), time.process_time()
    report = evaluate_alignment(
        steered,
        norms=norms,
        languages=options.languages,
        categories=options.categories,
        cache=cache_dir() / "words",
    )
    seconds = {"wall": time.perf_counter() - begin, "process CPU": time.process_time() - cpu}
    if options.output:
        from emosteer.eval.alignment.report import write_report

        write_report(report, options.output)
    if options.output and options.card:
        put(options.card, [Record.load(options.output / "alignment.json")])
    show(
        f"Alignment, {options.model}",
        rows(report),
        seconds=seconds,
        notes=list(report.notes),
        layers=report.about["layers"],
    )
