"""Judges, which have never seen a steering vector and tell which emotion a text carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emosteer._util import strict_json
from emosteer._util.text import checked
from emosteer.errors import FormatError, InputError, warn
from emosteer.eval.encoder import ENCODERS, LANGUAGES, MINILM, SentenceEncoder, installed, shared_encoder
from emosteer.eval.language import listed, same_language

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
"""Emotion → label of GoEmotions, for those of the 28 rated emotions that it names (14) or has a synonym for (5)."""

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
"""Lower-case label of a classifier → emotion, unless the classifier also has a label of that name."""

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
    "judges_of",
    "named_judge",
    "shipped_heads",
]


class Judge(Protocol):
    """A model that tells how probable each emotion is in a text.

    It may have `languages`, the codes of those that it knows. A judge without them, or with None, is taken at the
    caller's word.
    """

    name: str
    labels: tuple[str, ...]

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return the probability of each emotion in each text.

        Args:
            texts: Texts to judge.
            emotions: Labels to choose among; all by default.

        Returns:
            Label → `[n_texts]`; the chosen labels sum to 1.

        Raises:
            InputError: The judge does not know an emotion, or a text is not text.
        """
        ...


class EmbeddingJudge:
    """A linear head on an encoder, trained on labelled text by `python -m tests.tools.train_judge`.

    `"goemotions"`, the default, was trained on GoEmotions (Demszky et al. 2020) and knows its 27 emotions and
    `neutral`; `"brighter"` was trained on other data, and `"goemotions-mpnet"` hears through another sentence encoder.
    These know English only. `"brighter-zh"` and `"brighter-zh-e5"` know Chinese: they were trained on Chinese texts of
    BRIGHTER (Muhammad et al. 2025), the first without the weights of any encoder.

    Args:
        head: Name of a head that comes with emosteer, or a file written by `train_judge`.

    Raises:
        InputError: No head of this name comes with emosteer.
        FormatError: The file is not such a head.
        MissingExtraError: The sentence encoder is not available.
    """

    def __init__(self, head: str | Path = DEFAULT_HEAD) -> None:
        file = head if isinstance(head, Path) else _shipped(head)
        self._head = _read(file)
        self.name = head.stem if isinstance(head, Path) else head
        self.labels = self._head.labels
        self.languages = self._head.languages
        self._encoder = shared_encoder(self._head.encoder)
        if (width := self._head.weights.shape[1]) != self._encoder.width:
            raise FormatError(
                f"{file} has {width} weights for each label, where the encoder {self._head.encoder} gives "
                f"{self._encoder.width} numbers."
            )

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return the probability of each emotion in each text, as every `Judge` does."""
        names = _choice(self, emotions)
        columns = [self.labels.index(name) for name in names]
        shares = _softmax(self._encoder.encode(texts) @ self._head.weights[columns].T + self._head.bias[columns])
        return dict(zip(names, shares.T, strict=True))


class ClassifierJudge:
    """Any text-classification model of transformers.

    Labels are lower-cased and renamed by `SYNONYMS`. If labels exclude each other, probabilities are the softmax over
    the choice. If not (`problem_type` is `multi_label_classification`), each label's own probability is divided by the
    sum over the choice.

    Args:
        model_id: Hub id or folder.
        batch_size: Texts per batch.
        languages: Languages that it knows; None if that is not known.

    Raises:
        InputError: The model cannot be loaded.
    """

    def __init__(self, model_id: str | Path, *, batch_size: int = 32, languages: Sequence[str] | None = None) -> None:
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
        own = [str(label).lower() for _, label in sorted(self._model.config.id2label.items())]
        self.labels = tuple(name if (name := SYNONYMS.get(label, label)) not in own else label for label in own)
        self.languages = None if languages is None else tuple(languages)
        self._batch_size = batch_size

    def probabilities(self, texts: Sequence[str], emotions: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Return the probability of each emotion in each text, as every `Judge` does."""
        names = _choice(self, emotions)
        logits = self._logits(texts)[:, [self.labels.index(name) for name in names]]
        if self._model.config.problem_type == "multi_label_classification":
            own = 1 / (1 + np.exp(-logits))
            shares = own / own.sum(1, keepdims=True)
        else:
            shares = _softmax(logits)
        return dict(zip(names, shares.T, strict=True))

    def _logits(self, texts: Sequence[str]) -> np.ndarray:
        """Return `[n_texts, n_labels]`, computed in batches of about equal length."""
        import torch

        texts = [checked(text, "A text") for text in texts]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float64)
        for begin in range(0, len(order), self._batch_size):
            rows = order[begin : begin + self._batch_size]
            batch = self._tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                result[rows] = self._model(**batch.to(self._model.device)).logits.double().cpu().numpy()
        return result


def named_judge(name: str) -> Judge:
    """Return the judge with the head of this name, else the classifier of this Hub id or folder.

    Raises:
        InputError: There is neither.
    """
    return EmbeddingJudge(name) if name in shipped_heads() else ClassifierJudge(name)


def judges_of(language: str, judges: Sequence[Judge] | None = None) -> tuple[list[Judge], tuple[str, ...]]:
    """Choose the judges that know a language, and warn of the others, whose verdicts would mean nothing.

    Args:
        language: Language of the texts.
        judges: Judges to choose among; by default those that come with emosteer and know the language, of which those
            on optional encoders (mpnet, e5) only judge where these are installed.

    Returns:
        The judges that know it, and the names of those that do not.

    Raises:
        MissingExtraError: A judge that comes with emosteer knows it, but its sentence encoder is not available.
    """
    if judges is not None:
        spoken = {judge.name: getattr(judge, "languages", None) for judge in judges}
        strangers = {name: known for name, known in spoken.items() if known and not same_language(language, known)}
    else:
        heads = {name: _read(file) for name, file in shipped_heads().items()}
        native = [name for name, head in heads.items() if same_language(language, head.languages)]
        judges = [
            EmbeddingJudge(name) for name in native if heads[name].encoder == MINILM or installed(heads[name].encoder)
        ]
        strangers = {} if native else {name: head.languages for name, head in heads.items()}
    if strangers:
        told = listed([f"{name} ({listed(known)})" for name, known in strangers.items()])
        warn(
            f"The answers are in {language!r}, which these judges do not know and so do not judge: {told}. Give one "
            "that does: --judge MODEL, or a ClassifierJudge in Python."
        )
    return [judge for judge in judges if judge.name not in strangers], tuple(strangers)


def heard_as(judge: Judge, emotion: str) -> str | None:
    """Return the label under which a judge knows an emotion of the vectors, or None if it does not."""
    return next((name for name in (emotion, GOEMOTIONS_MAP.get(emotion)) if name in judge.labels), None)


@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges of the same texts.

    Args:
        judges: Their names.
        labels: The labels that both know, among which they chose.
        n: Number of texts.
        kappa: Cohen's kappa of their choices; None if both always choose the same label.
        correlation: Pearson's correlation of their probabilities, mean over labels; None if none varies.
    """

    judges: tuple[str, str]
    labels: tuple[str, ...]
    n: int
    kappa: float | None
    correlation: float | None


def agreement(judged: Mapping[str, Mapping[str, np.ndarray]], labels: Sequence[str] = BASIC) -> tuple[Agreement, ...]:
    """Compare every two judges.

    Args:
        judged: Name of the judge → its probabilities of the same texts.
        labels: Labels that they choose among, where both know them.
    """
    compared = []
    for judges in combinations(judged, 2):
        common = tuple(name for name in labels if all(name in judged[judge] for judge in judges))
        if len(common) < 2:
            continue
        stacked = [np.stack([judged[judge][name] for name in common], axis=1) for judge in judges]
        first, second = (shares / shares.sum(1, keepdims=True) for shares in stacked)
        varied = [(x, y) for x, y in zip(first.T, second.T, strict=True) if x.std() > 0 and y.std() > 0]
        correlation = float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in varied])) if varied else None
        kappa = _kappa(first.argmax(1), second.argmax(1), len(common))
        compared.append(Agreement(judges, common, len(first), kappa, correlation))
    return tuple(compared)


def _kappa(first: np.ndarray, second: np.ndarray, n_labels: int) -> float | None:
    """Return the agreement beyond that of judges who choose each label at random as often as these (Cohen 1960)."""
    shares = [np.bincount(chosen, minlength=n_labels) / len(chosen) for chosen in (first, second)]
    by_chance = float(shares[0] @ shares[1])
    return (float((first == second).mean()) - by_chance) / (1 - by_chance) if by_chance < 1 else None


def shipped_heads() -> dict[str, Path]:
    """Return the name and file of each head that comes with emosteer, the default first."""
    files = Path(str(resources.files("emosteer.eval") / "data")).glob("judge-*.json")
    heads = {file.stem.removeprefix("judge-").removesuffix("-minilm"): file for file in files}
    return dict(sorted(heads.items(), key=lambda item: (item[0] != DEFAULT_HEAD, item[0])))


@dataclass(frozen=True)
class _Head:
    labels: tuple[str, ...]
    languages: tuple[str, ...]
    encoder: str
    weights: np.ndarray  # [n_labels, width]
    bias: np.ndarray  # [n_labels]


def _read(file: Path) -> _Head:
    try:
        data = strict_json.loads(file.read_bytes())
        with np.errstate(all="ignore"):  # what is too large becomes infinite, which is refused below
            head = _Head(
                _names(data["labels"]),
                _names(data.get("languages", [*LANGUAGES])),  # the first heads told neither this nor their encoder
                data.get("encoder", MINILM),
                np.array(data["weights"], dtype=np.float32) * np.float32(data["scale"]),
                np.array(data["bias"], dtype=np.float32),
            )
        if head.encoder not in ENCODERS:
            raise ValueError(f"its encoder is none of {', '.join(ENCODERS)}")
        if head.weights.ndim != 2 or len(head.weights) != len(head.labels) or head.bias.shape != (len(head.labels),):
            raise ValueError("it does not have one row of weights and one bias for each label")
        if not (np.isfinite(head.weights).all() and np.isfinite(head.bias).all()):
            raise ValueError("a weight is not a finite number")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FormatError(f"{file} is not the head of a judge ({error}).") from error
    return head


def _names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ValueError("its labels or languages are not a list of names")
    if len(set(value)) < len(value):
        raise ValueError("it names a label or language twice")
    return tuple(value)


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
    """Turn `[n_texts, n_labels]` into rows that sum to 1."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    shares: np.ndarray = exponentials / exponentials.sum(1, keepdims=True)
    return shares
