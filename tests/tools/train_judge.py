"""Train the head of a judge on labelled texts, and say how well it does on texts it has not seen.

    python -m tests.tools.train_judge path/to/goemotions emosteer/eval/data/judge-goemotions-minilm.json
    python -m tests.tools.train_judge path/to/goemotions emosteer/eval/data/judge-goemotions-mpnet.json \\
        --encoder mpnet --most 150
    python -m tests.tools.train_judge path/to/brighter emosteer/eval/data/judge-brighter-minilm.json
    python -m tests.tools.train_judge path/to/brighter emosteer/eval/data/judge-brighter-zh.json \\
        --encoder ngrams --language chn
    python -m tests.tools.train_judge path/to/brighter emosteer/eval/data/judge-brighter-zh-e5.json \\
        --encoder e5 --language chn

The first folder is what the head is trained on. Further folders may follow the file, on which it is tried too, with the
labels that both have: GoEmotions after BRIGHTER shows how well that head carries over.
A folder holds one of two data sets, as published:

- GoEmotions (Demszky et al. 2020, Apache-2.0): `train.tsv`, `dev.tsv` (text, label ids, id) and `labels.txt`. Texts
  with one label are used.
- BRIGHTER, track B (Muhammad et al. 2025, SemEval-2025 Task 11, CC BY 4.0): `track_b_eng_train.csv` and
  `track_b_eng_dev.csv`, or of another language (id, text and an intensity from 0 to 3 for each emotion; disgust is not
  among those in English). Texts with one emotion that is stronger than the others are used.

The head is written as whole numbers, so that it is small and its bytes do not depend on the last bit of the solver.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer.errors import EmosteerError, InputError
from emosteer.eval.encoder import ENCODERS, MINILM, shared_encoder
from emosteer.eval.judges import BASIC, EmbeddingJudge, Judge

if TYPE_CHECKING:
    import numpy as np

    Split = tuple[list[str], np.ndarray]

BRIGHTER_LANGUAGES = {"eng": ("en", "English"), "chn": ("zh", "Chinese")}
LEVELS = 2_047  # weights are rounded to this many steps either side of 0

__all__ = ["Dataset", "main", "read_dataset", "scores"]


@dataclass(frozen=True)
class Dataset:
    """Texts, each with one label.

    Attributes:
        train: Texts and, for each, the index of its label.
        dev: The same, never trained on.
        labels: What the indices mean.
        language: Code of their language.
        regularisation: Encoder → `C` of the logistic regression, chosen by cross-validation on `train`.
        source: What the training texts are, for the head's file.
    """

    train: Split
    dev: Split
    labels: list[str]
    language: str
    regularisation: dict[str, float]
    source: str


def _goemotions(folder: Path) -> Dataset:
    import numpy as np

    def read(split: str) -> Split:
        rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
        single = [(text, int(ids)) for text, ids, _ in rows if "," not in ids]
        return [text for text, _ in single], np.array([label for _, label in single])

    train = read("train")
    labels = (folder / "labels.txt").read_text(encoding="utf-8").split()
    regularisation = {"minilm": 10.0, "mpnet": 1.0}
    return Dataset(train, read("dev"), labels, "en", regularisation, "GoEmotions train, {} texts with one label")


def _brighter(folder: Path, part: str) -> Dataset:
    import numpy as np

    labels = [emotion for emotion in BASIC if part != "eng" or emotion != "disgust"]

    def read(split: str) -> Split:
        with (folder / f"track_b_{part}_{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = [(row["text"], [int(row[label]) for label in labels]) for row in csv.DictReader(file)]
        clear = [(text, grades) for text, grades in rows if grades.count(max(grades)) == 1]
        return [text for text, _ in clear], np.array([np.argmax(grades) for _, grades in clear])

    train = read("train")
    code, name = BRIGHTER_LANGUAGES[part]
    source = f"BRIGHTER {name} track B train (CC BY 4.0), {{}} texts with one strongest emotion"
    return Dataset(train, read("dev"), labels, code, {"minilm": 1.0, "e5": 100.0, "ngrams": 3.0}, source)


def read_dataset(folder: Path, part: str = "eng", most: int | None = None) -> Dataset:
    """Read GoEmotions, or a language's part of BRIGHTER, with at most the first `most` training texts of each label.

    Raises:
        InputError: The folder holds neither.
    """
    try:
        data = _brighter(folder, part) if (folder / f"track_b_{part}_train.csv").is_file() else _goemotions(folder)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{folder} holds neither GoEmotions nor BRIGHTER {BRIGHTER_LANGUAGES[part][1]} ({error}).",
            f"It needs train.tsv, dev.tsv and labels.txt, or track_b_{part}_train.csv and track_b_{part}_dev.csv.",
        ) from error
    texts, targets = data.train
    kept = [i for i, target in enumerate(targets) if most is None or (targets[:i] == target).sum() < most]
    return replace(data, train=([texts[i] for i in kept], targets[kept]), source=data.source.format(len(kept)))


def scores(judge: Judge, data: Dataset) -> list[str]:
    """Return a line on the accuracy over the labels of `data` that a judge knows, and over the basic ones of them."""
    import numpy as np
    from sklearn.metrics import accuracy_score, f1_score

    texts, targets = data.dev
    shared = [label for label in data.labels if label in judge.labels]
    basic = [label for label in shared if label in BASIC]
    lines = []
    for choice in [shared, basic] if basic != shared else [shared]:
        rows = [i for i, target in enumerate(targets) if data.labels[target] in choice]
        found = judge.probabilities([texts[i] for i in rows], choice)
        best = np.stack(list(found.values())).argmax(0)
        truth = [choice.index(data.labels[targets[i]]) for i in rows]
        accuracy, macro = accuracy_score(truth, best), f1_score(truth, best, average="macro")
        of = f"{data.source.split()[0]} dev, {len(choice)} labels"
        lines.append(f"{of}: accuracy {accuracy:.3f}, macro F1 {macro:.3f}, n = {len(rows)}")
    return lines


def main(
    folder: Path, output: Path, *others: Path, encoder: str = MINILM, part: str = "eng", most: int | None = None
) -> None:
    """Train, write the head and print how well it does on the development split.

    Args:
        folder: Of the data set to train on.
        output: The JSON file to write.
        *others: Folders of data sets on whose development split the head is tried too.
        encoder: Name of the encoder that the head is for.
        part: Language of BRIGHTER, as its files name it.
        most: Training texts of each label; all by default.

    Raises:
        InputError: A data set is not there.
        MissingExtraError: The encoder is not available.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    data, *more = (read_dataset(one, part, most) for one in (folder, *others))
    texts, targets = data.train
    model = LogisticRegression(C=data.regularisation[encoder], max_iter=2_000, class_weight="balanced")
    model.fit(_encoded(texts, encoder), targets)
    scale = float(np.abs(model.coef_).max() / LEVELS)
    head = {
        "labels": data.labels,
        "languages": [data.language],
        "encoder": encoder,
        "scale": round(scale, 9),
        "weights": np.rint(model.coef_ / scale).astype(int).tolist(),
        "bias": np.round(model.intercept_, 4).tolist(),
        "trained_on": data.source,
    }
    output.write_text(strict_json.canonical(head) + "\n", encoding="utf-8")
    judge = EmbeddingJudge(output)
    for tried in (data, *more):
        print(*scores(judge, tried), sep="\n")


def _encoded(texts: Sequence[str], encoder: str) -> np.ndarray:
    """Encode in bfloat16, which is several times as fast and changes no cosine by more than 0.0003."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        return shared_encoder(encoder).encode(texts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("others", type=Path, nargs="*")
    parser.add_argument("--encoder", choices=ENCODERS, default=MINILM)
    parser.add_argument("--language", choices=BRIGHTER_LANGUAGES, default="eng")
    parser.add_argument("--most", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    try:
        main(
            asked.folder,
            asked.output,
            *asked.others,
            encoder=asked.encoder,
            part=asked.language,
            most=asked.most,
        )
    except EmosteerError as error:
        sys.exit(str(error))
