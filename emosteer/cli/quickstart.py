"""The first five minutes: one question, answered plainly and in several tones, with what each tone cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emosteer
from emosteer.embedded import cache_dir
from emosteer.eval.fluency import nats_per_token
from emosteer.vectors.emotion_vectors import EmotionVectors

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from emosteer.model import SteeredModel

SHIPPED = "smollm2-135m-instruct-en"
QUESTION = "What does the moon look like tonight?"
TONES = ("joy", "sadness", "anger", "fear", "calm")

SAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
"""Careful enough for a small model to stay on topic; chosen, like the question, on development prompts."""

__all__ = ["QUESTION", "SAMPLING", "TONES", "Answer", "answers", "embedded_folder", "embedded_vectors"]


@dataclass(frozen=True)
class Answer:
    """One answer and its cost.

    Args:
        emotion: Its tone, or None for the plain model.
        strength: In calibrated doses.
        text: What the model said.
        nats_per_token: Under the plain model.
        cost: The same minus that of the plain answer.
    """

    emotion: str | None
    strength: float
    text: str
    nats_per_token: float
    cost: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def embedded_vectors(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, build: bool = False
) -> tuple[EmotionVectors, Path]:
    """The vectors of the embedded model: those beside the code, else those in the user's cache, else built now.

    Args:
        model: The embedded model.
        tokenizer: Its tokenizer.
        build: Build them even if they are there, into the cache.

    Returns:
        The vectors and the folder they are in.

    Raises:
        InputError: The cache cannot be written.
        FormatError: The vectors that are there are damaged.
    """
    folder = embedded_folder()
    if folder.is_dir() and not build:
        return EmotionVectors.from_pretrained(folder), folder
    cached = _cached()
    vectors = emosteer.extract(model, tokenizer, emosteer.ConceptSet.load("en"))
    vectors.save_pretrained(cached)
    return vectors, cached


def embedded_folder() -> Path:
    """Where the vectors of the embedded model are, or will be when they have been built."""
    beside = Path(emosteer.__file__).parent.parent / "vectors" / SHIPPED
    return beside if beside.is_dir() else _cached()


def _cached() -> Path:
    made_from = f"{version('emosteer')}-{emosteer.ConceptSet.load('en').digest[:12]}"
    return cache_dir() / "vectors" / f"{SHIPPED}-{made_from}"


def answers(
    steered: SteeredModel,
    question: str = QUESTION,
    tones: Sequence[str] = TONES,
    *,
    strength: float = 1.0,
    seed: int = 0,
    max_new_tokens: int = 40,
) -> Iterator[Answer]:
    """Answer a question plainly, then in each tone by the recipe "natural", one after the other.

    Args:
        steered: The model.
        question: What is asked.
        tones: Emotions.
        strength: Of each, in calibrated doses.
        seed: The same for every answer, so that only the tone differs.
        max_new_tokens: Longest answer.

    Raises:
        ToneError: An emotion or the strength cannot be used.
        InputError: The question cannot be used.
    """
    plain = 0.0
    for emotion in (None, *tones):
        text = steered.chat(
            question,
            emotion=None if emotion is None else {emotion: strength},
            recipe="natural",
            seed=seed,
            max_new_tokens=max_new_tokens,
            **SAMPLING,
        )
        nats = nats_per_token(steered, question, text)
        plain = nats if emotion is None else plain
        yield Answer(emotion, 0.0 if emotion is None else strength, text.strip().rstrip("\ufffd"), nats, nats - plain)


def python_example(model: str, vectors: str) -> str:
    """Return Python code that does the same."""
    return (
        "import emosteer\n"
        f'steered = emosteer.SteeredModel.from_pretrained("{model}", vectors="{vectors}")\n'
        f'options = {{"recipe": "natural", "do_sample": True, "temperature": 0.7, "top_p": 0.9}}\n'
        f'print(steered.chat("{QUESTION}", emotion={{"joy": 1.0}}, **options))'
    )
