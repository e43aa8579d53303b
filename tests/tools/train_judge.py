"""Train the head of an embedding judge on labelled texts, and say how well it does on texts it has not seen.

    python -m tests.tools.train_judge path/to/goemotions emosteer/eval/data/judge-goemotions-minilm.json
    python -m tests.tools.train_judge path/to/brighter emosteer/eval/data/judge-brighter-minilm.json

The first folder is what the head is trained on. Further folders may follow, on which it is tried too, with the labels
that both have: GoEmotions after BRIGHTER shows how well that head carries over.
A folder holds one of two data sets, as published:

- GoEmotions (Demszky et al. 2020, Apache-2.0): `train.tsv`, `dev.tsv` (text, label ids, id) and `labels.txt`. Texts
  with one label are used.
- BRIGHTER, English, track B (Muhammad et al. 2025, SemEval-2025 Task 11, CC BY 4.0): `track_b_eng_train.csv` and
  `track_b_eng_dev.csv` (id, text and an intensity from 0 to 3 for each of five emotions; disgust is not among them).
  Texts with one emotion that is stronger than the others are used.

The head is written as whole numbers, so that it is small and its bytes do not depend on the last bit of the solver.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer.errors import EmosteerError, InputError
from emosteer.eval.judges import EmbeddingJudge, SentenceEncoder

if TYPE_CHECKING:
    import numpy as np

    Split = tuple[list[str], np.ndarray]

BASIC = ("joy", "sadness", "anger", "fear", "disgust", "surprise")
LEVELS = 2_047  # weights are rounded to this many steps either side of 0

__all__ = ["main"]


@dataclass(frozen=True)
class Dataset:
    """Texts, each with one label.

    Attributes:
        train: Texts and, for each, the index of its label.
        dev: The same, never trained on.
        labels: What the indices mean.
        regularisation: `C` of the logistic regression, chosen by cross-validation on `train`.
        source: What the training texts are, for the head's file.
    """

    train: Split
    dev: Split
    labels: list[str]
    regularisation: float
    source: str


def _goemotions(folder: Path) -> Dataset:
    import numpy as np

    def read(split: str) -> Split:
        rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
        single = [(text, int(ids)) for text, ids, _ in rows if "," not in ids]
        return [text for text, _ in single], np.array([label for _, label in single])

    train = read("train")
    labels = (folder / "labels.txt").read_text(encoding="utf-8").split()
    return Dataset(train, read("dev"), labels, 10.0, f"GoEmotions train, {len(train[0])} texts with one label")


def _brighter(folder: Path) -> Dataset:
    import numpy as np

    labels = [emotion for emotion in BASIC if emotion != "disgust"]

    def read(split: str) -> Split:
        with (folder / f"track_b_eng_{split}.csv").open(encoding="utf-8", newline="") as file:
            rows = [(row["text"], [int(row[label]) for label in labels]) for row in csv.DictReader(file)]
        clear = [(text, grades) for text, grades in rows if grades.count(max(grades)) == 1]
        return [text for text, _ in clear], np.array([np.argmax(grades) for _, grades in clear])

    train = read("train")
    source = f"BRIGHTER English track B train (CC BY 4.0), {len(train[0])} texts with one strongest emotion"
    return Dataset(train, read("dev"), labels, 1.0, source)


def _read(folder: Path) -> Dataset:
    reader = _brighter if (folder / "track_b_eng_train.csv").is_file() else _goemotions
    try:
        return reader(folder)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(
            f"{folder} holds neither GoEmotions nor BRIGHTER English ({error}).",
            "It needs train.tsv, dev.tsv and labels.txt, or track_b_eng_train.csv and track_b_eng_dev.csv.",
        ) from error


def main(folder: Path, output: Path, *others: Path) -> None:
    """Train, write the head and print how well it does on the development split.

    Args:
        folder: Of the data set to train on.
        output: The JSON file to write.
        *others: Folders of data sets on whose development split the head is tried too.

    Raises:
        InputError: A data set is not there.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    data, *more = (_read(one) for one in (folder, *others))
    texts, targets = data.train
    model = LogisticRegression(C=data.regularisation, max_iter=2_000, class_weight="balanced")
    model.fit(SentenceEncoder().encode(texts, progress=True), targets)
    scale = float(np.abs(model.coef_).max() / LEVELS)
    head = {
        "labels": data.labels,
        "scale": round(scale, 9),
        "weights": np.rint(model.coef_ / scale).astype(int).tolist(),
        "bias": np.round(model.intercept_, 4).tolist(),
        "trained_on": data.source,
    }
    output.write_text(strict_json.canonical(head) + "\n", encoding="utf-8")

    judge = EmbeddingJudge(output)
    for tried in (data, *more):
        texts, targets = tried.dev
        shared = [label for label in tried.labels if label in judge.labels]
        basic = [label for label in shared if label in BASIC]
        for choice in [shared, basic] if basic != shared else [shared]:
            rows = [i for i, target in enumerate(targets) if tried.labels[target] in choice]
            found = judge.probabilities([texts[i] for i in rows], choice)
            best = np.stack(list(found.values())).argmax(0)
            truth = [choice.index(tried.labels[targets[i]]) for i in rows]
            accuracy, macro = accuracy_score(truth, best), f1_score(truth, best, average="macro")
            of = f"{tried.source.split()[0]} dev, {len(choice)} labels"
            print(f"{of}: accuracy {accuracy:.3f}, macro F1 {macro:.3f}, n = {len(rows)}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*map(Path, sys.argv[1:]))
    except EmosteerError as error:
        sys.exit(str(error))
