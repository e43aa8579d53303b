"""How well the judges that come with emosteer know the data they were not trained on, and how far they agree.

    python -m tests.benchmarks.judges path/to/goemotions path/to/brighter

The folders are those of `tests/tools/train_judge.py`. The English judges answer to the development splits of GoEmotions
and of BRIGHTER's English part, the Chinese one to BRIGHTER's Chinese part and to the 60 sentences of
`tests/eval/said-zh.json`, which were written for this: answers in a tone that do not name it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from emosteer._util import strict_json
from emosteer.eval.judges import BASIC, Judge, agreement, judges_of
from tests.tools.train_judge import Dataset, read_dataset, scores

SAID = Path(__file__).parents[1] / "eval" / "said-zh.json"


def said(labels: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the sentences and the index of the label of each."""
    sentences = strict_json.loads(SAID.read_bytes())
    pairs = [(text, labels.index(emotion)) for emotion, texts in sentences.items() for text in texts]
    return [text for text, _ in pairs], np.array([label for _, label in pairs])


def told(judges: list[Judge], data: Dataset) -> None:
    """Print the accuracy of each judge, and the agreement of every two on texts that carry a basic emotion."""
    for judge in judges:
        for line in scores(judge, data):
            print(f"{judge.name}: {line}")
    texts = [text for text, target in zip(*data.dev, strict=True) if data.labels[target] in BASIC]
    for found in agreement({judge.name: judge.probabilities(texts) for judge in judges}):
        print(f"{' and '.join(found.judges)}: kappa {found.kappa:.3f} over {len(found.labels)}, n = {found.n}")


def main(goemotions: Path, brighter: Path) -> None:
    """Print a line for each judge and each pair of judges."""
    english, chinese = judges_of("en")[0], judges_of("zh")[0]
    told(english, read_dataset(goemotions))
    told(english, read_dataset(brighter))
    social = read_dataset(brighter, "chn")
    told(chinese, social)
    told(chinese, replace(social, dev=said(social.labels), source="Sentences"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
