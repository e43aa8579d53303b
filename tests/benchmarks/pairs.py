"""Pairs of answers for readers who know nothing: which sounds more of the emotion, which more like a person?

The answers are those that `emosteer eval steering` and the benchmarks keep in their cache. A pair answers one prompt in
one tone in two ways, and a judge hears the tone in both, so that neither way has the better hit rate. Readers get them
in random order, under A and B; the key stays here.

    python -m tests.benchmarks.pairs make CACHE FOLDER --ways natural,asked_and_steered [--pairs 200]
    python -m tests.benchmarks.pairs score FOLDER READER.csv …     # lines of: number,A or B or =,A or B or =
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from tests.benchmarks.continuing import BASIC, Judges
from tests.benchmarks.report import bootstrap, show

ASKED = ("more of the emotion", "more like a person")


def answers(cache: Path, way: str) -> dict[tuple[str, str], str]:
    """Emotion and prompt → an answer at strength 1.0, of those in the cache in which a judge hears the emotion."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for file in sorted(cache.glob("*.json")):
        for answer in json.loads(file.read_bytes())["answers"]:
            cell, prompt = answer["cell"], answer["prompt"]
            of_way = (cell["way"], cell["strength"], cell["control"]) == (way, 1.0, None)
            if of_way and cell["emotion"] in BASIC and answer["nats"] is not None:  # else it solves a task
                asked = "\n".join(filter(None, (prompt["system"], prompt["text"])))
                found[cell["emotion"]].setdefault(asked, answer["text"])
    judges = Judges()
    return {
        (emotion, asked): text
        for emotion, said in found.items()
        for (asked, text), hit in zip(said.items(), judges.hits([*said.values()], emotion)["goemotions"], strict=True)
        if hit
    }


def make(cache: Path, folder: Path, ways: list[str], most: int) -> None:
    """Write the pairs for readers, and the key."""
    first, second = (answers(cache, way) for way in ways)
    both = sorted(first.keys() & second.keys())
    rng = np.random.default_rng(0)
    chosen = [both[i] for i in rng.permutation(len(both))[:most]]
    lines, key = [], []
    for number, (emotion, asked) in enumerate(chosen, 1):
        turned = bool(rng.integers(2))
        key.append({"emotion": emotion, "A": ways[turned], "B": ways[not turned]})
        said = (first[emotion, asked], second[emotion, asked])
        lines += [
            f"## {number}. {emotion}",
            "",
            f"Asked: {asked}",
            "",
            f"A: {said[turned]}",
            "",
            f"B: {said[not turned]}",
            "",
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pairs.md").write_text("\n".join(lines))
    (folder / "key.json").write_text(json.dumps({"ways": ways, "pairs": key}))
    print(f"{len(chosen)} pairs of {len(both)} in which a judge hears the tone twice: {folder / 'pairs.md'}")


def score(folder: Path, readers: list[Path]) -> None:
    """Print how often each way was chosen. A tie is half a choice of each."""
    key = json.loads((folder / "key.json").read_text())
    first, second = key["ways"]
    rows = []
    for reader in readers:
        said = {int(number): verdicts for number, *verdicts in csv.reader(reader.open())}
        for place, question in enumerate(ASKED):
            chosen = [
                0.5
                if (verdict := verdicts[place].strip()) == "="
                else float(key["pairs"][number - 1][verdict] == second)
                for number, verdicts in said.items()
            ]
            ties = sum(value == 0.5 for value in chosen)
            share = float(np.mean(chosen))
            rows.append(
                {
                    "reader": reader.stem,
                    "question": question,
                    "pairs": len(chosen),
                    "ties": ties,
                    f"{second} over {first}": share,
                    "interval": bootstrap(chosen),
                    "no less": float(np.mean([value >= 0.5 for value in chosen])),
                }
            )
    show("Blind pairs", rows, ways=key["ways"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parts = parser.add_subparsers(dest="part", required=True)
    making = parts.add_parser("make")
    making.add_argument("cache", type=Path)
    making.add_argument("folder", type=Path)
    making.add_argument("--ways", type=lambda names: names.split(","), default=["natural", "asked_and_steered"])
    making.add_argument("--pairs", type=int, default=200)
    scoring = parts.add_parser("score")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("readers", type=Path, nargs="+")
    options = parser.parse_args()
    if options.part == "make":
        make(options.cache, options.folder, options.ways, options.pairs)
    else:
        score(options.folder, options.readers)
