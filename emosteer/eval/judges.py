"""Judges that say which emotion a text carries, and have never seen a steering vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from emosteer._util import strict_json
from emosteer.errors import FormatError, InputError
from emosteer.eval.encoder import SentenceEncoder, shared_encoder

if TYPE_CHECKING:
    import numpy as np

BASIC = ("joy", "sadness", "anger", "fear", "disgust", "surprise")
"""The six basic emotions, among which a hit is counted."""

GOEMOTIONS_MAP = {
    **{name: name for name in (*BASIC, "love", "pride", "gratitude", "excitement", "amusement")},
    **{name: name for name in ("embarrassment", "grief", "confusion")},
    "hope": "optimism",
    "interest": "curiosity",
    "anxiety": "nervousness",
    "guilt": "remorse",
    "frustration": "annoyance",
}
"""Those of the 28 emotions with human ratings that GoEmotions names (14) or has a synonym for (5) → its label."""

SYNONYMS = {
    "happiness": "joy",
    "happy": "joy",
    "sad": "sadness",
    "angry": "anger",
    "rage": "anger",
    "fearful": "fear",
    "scared": "fear",
    "disgusted": "disgust",
    "surprised": "surprise",
}
"""Labels of classifiers, lower-cased → our name, where the classifier has no label of that name itself."""

DEFAULT_HEAD = "goemotions"

__all__ = [
    "BASIC",
    "GOEMOTIONS_MAP",
    "Agreement",
    "ClassifierJudge",
    "EmbeddingJudge",
    "Judge",
    "SentenceEncoder",
    "agreement",
    "heard_as",
    "named_judge",
    "shipped_heads",
]


class Judge(Protocol):
    """Whoever can say how likely each emotion is in a text."""

    name: str
    labels: tuple[str, ...]

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """How likely each emotion is in each text.

        Args:
            texts: What to judge.
            emotions: The choice is among these labels; among all by default.

        Returns:
            Label → `[n_texts]`; over the choice they sum to 1.

        Raises:
            InputError: The judge does not know an emotion.
        """
        ...


class EmbeddingJudge:
    """A linear head on a sentence encoder, trained on labelled text: the offline default.

    `"goemotions"` was trained on GoEmotions (Demszky et al. 2020) by `python -m tests.tools.train_judge` and knows
    its 27 emotions and `neutral`; `"brighter"` was trained on other data.

    Args:
        head: One that comes with emosteer, by name, or a file of `train_judge`.

    Raises:
        InputError: No head of this name comes with emosteer.
        FormatError: The file is not such a head.
        MissingExtraError: The sentence encoder is not there.
    """

    def __init__(self, head: str | Path = DEFAULT_HEAD) -> None:
        import numpy as np

        file = head if isinstance(head, Path) else _shipped(head)
        try:
            data = strict_json.loads(file.read_bytes())
            self.labels = tuple(data["labels"])
            self._weights = np.array(data["weights"], dtype=np.float32) * np.float32(data["scale"])
            self._bias = np.array(data["bias"], dtype=np.float32)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{file} is not the head of a judge ({error}).") from error
        self.name = head.stem if isinstance(head, Path) else head
        self._encoder = shared_encoder()

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """As for every `Judge`."""
        names = _choice(self, emotions)
        columns = [self.labels.index(name) for name in names]
        shares = _softmax(self._encoder.encode(texts) @ self._weights[columns].T + self._bias[columns])
        return {name: shares[:, i] for i, name in enumerate(names)}


class ClassifierJudge:
    """Any text-classification model of transformers.

    Labels are taken in lower case, and by the names of `SYNONYMS`. Where labels exclude each other, probabilities are
    the softmax over the choice; where they do not (a `problem_type` of `multi_label_classification`), each label's own
    probability divided by their sum over the choice.

    Args:
        model_id: Hub id or folder.
        batch_size: Texts at a time.

    Raises:
        InputError: The model cannot be loaded.
    """

    def __init__(self, model_id: str | Path, *, batch_size: int = 32) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(model_id)
            self._model = AutoModelForSequenceClassification.from_pretrained(model_id).eval()
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"The judge {str(model_id)!r} could not be loaded: {str(error).strip().splitlines()[0]}",
                "Give the Hub id or folder of a text-classification model; without a network, "
                "EmbeddingJudge() judges offline.",
            ) from error
        self.name = str(model_id)
        given = [str(label).lower() for _, label in sorted(self._model.config.id2label.items())]
        self.labels = tuple(name if (name := SYNONYMS.get(label, label)) not in given else label for label in given)
        self._batch_size = batch_size

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """As for every `Judge`."""
        import numpy as np

        names = _choice(self, emotions)
        logits = self._logits(texts)[:, [self.labels.index(name) for name in names]]
        if self._model.config.problem_type == "multi_label_classification":
            own = 1 / (1 + np.exp(-logits))
            shares = own / own.sum(1, keepdims=True)
        else:
            shares = _softmax(logits)
        return {name: shares[:, i] for i, name in enumerate(names)}

    def _logits(self, texts: Sequence[str]) -> np.ndarray:
        """`[n_texts, n_labels]`, in batches of about equal length."""
        import numpy as np
        import torch

        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float64)
        for begin in range(0, len(order), self._batch_size):
            rows = order[begin : begin + self._batch_size]
            batch = self._tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                result[rows] = self._model(**batch.to(self._model.device)).logits.double().cpu().numpy()
        return result


def named_judge(name: str) -> Judge:
    """A judge by the name of a head that comes with emosteer, else by the Hub id or folder of a classifier.

    Raises:
        InputError: There is neither.
    """
    return EmbeddingJudge(name) if name in shipped_heads() else ClassifierJudge(name)


def heard_as(judge: Judge, emotion: str) -> str | None:
    """The label by which a judge knows an emotion, or None if it does not.

    Args:
        judge: The judge.
        emotion: As vectors name it.
    """
    return next((name for name in (emotion, GOEMOTIONS_MAP.get(emotion)) if name in judge.labels), None)


@dataclass(frozen=True)
class Agreement:
    """How far two judges of the same texts agree.

    Args:
        judges: Their names.
        labels: Those that both know, among which they chose.
        n: Number of texts.
        kappa: Cohen's, of their choices; None if both always choose the same label.
        correlation: Pearson's, of their probabilities over these labels, mean over them; None if one never varies.
    """

    judges: tuple[str, str]
    labels: tuple[str, ...]
    n: int
    kappa: float | None
    correlation: float | None


def agreement(judged: Mapping[str, Mapping[str, np.ndarray]], labels: Sequence[str] = BASIC) -> tuple[Agreement, ...]:
    """How far judges agree, two by two.

    Args:
        judged: Name of the judge → its probabilities, of the same texts.
        labels: What they choose among, where both know it.
    """
    import numpy as np

    found = []
    for first, second in combinations(judged, 2):
        common = tuple(name for name in labels if name in judged[first] and name in judged[second])
        if len(common) < 2:
            continue
        stacked = [np.stack([judged[judge][name] for name in common], axis=1) for judge in (first, second)]
        one, two = (shares / shares.sum(1, keepdims=True) for shares in stacked)
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, two.T, strict=True) if a.std() > 0 and b.std() > 0]
        correlation = float(np.mean(pairs)) if pairs else None
        found.append(
            Agreement((first, second), common, len(one), _kappa(one.argmax(1), two.argmax(1), len(common)), correlation)
        )
    return tuple(found)


def _kappa(one: np.ndarray, two: np.ndarray, n_labels: int) -> float | None:
    """Agreement above what chance gives two judges that choose each label as often as these (Cohen 1960)."""
    import numpy as np

    shares = [np.bincount(chosen, minlength=n_labels) / len(chosen) for chosen in (one, two)]
    by_chance = float(shares[0] @ shares[1])
    return (float((one == two).mean()) - by_chance) / (1 - by_chance) if by_chance < 1 else None


def shipped_heads() -> dict[str, Path]:
    """Name → file of the heads for `EmbeddingJudge` that come with emosteer, the default first."""
    files = Path(str(resources.files("emosteer.eval") / "data")).glob("judge-*-minilm.json")
    heads = {file.stem.removeprefix("judge-").removesuffix("-minilm"): file for file in files}
    return dict(sorted(heads.items(), key=lambda item: (item[0] != DEFAULT_HEAD, item[0])))


def _shipped(name: str) -> Path:
    heads = shipped_heads()
    if name not in heads:
        raise InputError(
            f"No judge {name!r} comes with emosteer.", f"There is {', '.join(heads)}; or give the Path of a head."
        )
    return heads[name]


def _choice(judge: Judge, emotions: Sequence[str] | None) -> tuple[str, ...]:
    names = judge.labels if emotions is None else tuple(emotions)
    if unknown := [name for name in names if name not in judge.labels]:
        raise InputError(f"The judge does not know {unknown[0]!r}.", f"It knows: {', '.join(judge.labels)}.")
    return names


def _softmax(logits: np.ndarray) -> np.ndarray:
    """`[n_texts, n_labels]`, rows that sum to 1."""
    import numpy as np

    shares = np.exp(logits - logits.max(1, keepdims=True))
    normed: np.ndarray = shares / shares.sum(1, keepdims=True)
    return normed
