"""Train the head of the embedding judge on GoEmotions.

    python -m emosteer.eval.train_judge path/to/goemotions emosteer/eval/data/judge-goemotions-minilm.json

The folder holds `train.tsv`, `dev.tsv` (text, label ids, id) and `labels.txt`, as published with Demszky et al. 2020
(Apache-2.0). Texts with one label are used. The head is written as whole numbers, so that it is small and its bytes do
not depend on the last bit of the solver.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer import strict_json
from emosteer.errors import EmosteerError, InputError
from emosteer.eval.judges import EmbeddingJudge, SentenceEncoder

if TYPE_CHECKING:
    import numpy as np

BASIC = ("joy", "sadness", "anger", "fear", "disgust", "surprise")
REGULARISATION = 10.0
LEVELS = 2_047  # weights are rounded to this many steps either side of 0

__all__ = ["main"]


def _read(folder: Path, split: str, labels: list[str]) -> tuple[list[str], np.ndarray]:
    import numpy as np

    try:
        rows = [line.split("\t") for line in (folder / f"{split}.tsv").read_text(encoding="utf-8").splitlines()]
        single = [(text, int(ids)) for text, ids, _ in rows if "," not in ids]
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / split}.tsv is not a GoEmotions file ({error}).") from error
    return [text for text, _ in single], np.array([label for _, label in single])


def main(folder: Path, output: Path) -> None:
    """Train, write the head and print how well it does on the development split.

    Args:
        folder: Of the data set.
        output: The JSON file to write.

    Raises:
        InputError: The data set is not there.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score

    labels = (folder / "labels.txt").read_text(encoding="utf-8").split()
    texts, targets = _read(folder, "train", labels)
    encoder = SentenceEncoder()
    model = LogisticRegression(C=REGULARISATION, max_iter=2_000, class_weight="balanced")
    model.fit(encoder.encode(texts, progress=True), targets)
    scale = float(np.abs(model.coef_).max() / LEVELS)
    head = {
        "labels": labels,
        "scale": round(scale, 9),
        "weights": np.rint(model.coef_ / scale).astype(int).tolist(),
        "bias": np.round(model.intercept_, 4).tolist(),
        "trained_on": f"GoEmotions train, {len(texts)} texts with one label",
    }
    output.write_text(strict_json.canonical(head) + "\n", encoding="utf-8")

    texts, targets = _read(folder, "dev", labels)
    judge = EmbeddingJudge(output)
    for name, choice in (("28 labels", labels), ("6 basic emotions", list(BASIC))):
        rows = [i for i, target in enumerate(targets) if labels[target] in choice]
        found = judge.probabilities([texts[i] for i in rows], choice)
        best = np.stack(list(found.values())).argmax(0)
        truth = [choice.index(labels[targets[i]]) for i in rows]
        accuracy, macro = accuracy_score(truth, best), f1_score(truth, best, average="macro")
        print(f"{name}: accuracy {accuracy:.3f}, macro F1 {macro:.3f}, n = {len(rows)}")  # noqa: T201


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except IndexError:
        sys.exit(__doc__)
    except EmosteerError as error:
        sys.exit(str(error))
