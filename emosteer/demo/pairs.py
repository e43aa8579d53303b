"""What is talked with: a model and its vectors, by name; and where its emotions are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer import ConceptSet
from emosteer.embedded import MODEL_ID
from emosteer.models.loading import EMBEDDED
from emosteer.vectors.shipped import shipped_folder

if TYPE_CHECKING:
    from emosteer import EmotionVectors

Places = Mapping[str, tuple[float, float] | None]
"""Emotion → where people place it, in valence and arousal, or None where nobody was asked."""

__all__ = ["Concepts", "Pair", "Places", "called", "on_circumplex", "place_of", "places_of"]


@dataclass(frozen=True)
class Concepts:
    """What vectors are built from.

    Args:
        language: Of a built-in concept set.
        emotions: Those of it that are wanted; none named is all.
    """

    language: str
    emotions: tuple[str, ...] = ()

    def load(self) -> ConceptSet:
        """The texts.

        Raises:
            ConceptError: The set has no such emotion.
        """
        whole = ConceptSet.load(self.language)
        return whole.subset(self.emotions) if self.emotions else whole

    def code(self) -> str:
        """As Python."""
        chosen = f".subset({list(self.emotions)!r})" if self.emotions else ""
        return f"emosteer.ConceptSet.load({self.language!r}){chosen}"


@dataclass(frozen=True)
class Pair:
    """A model and its vectors, by the names that they are loaded by.

    Args:
        model: `"embedded"`, a Hub id, a folder or a GGUF file.
        vectors: A folder, a `.safetensors` file or `user/name` on the Hub; None for those of the embedded model. Of a
            file that a visitor brought, or may download, what the visitor calls it.
        digest: sha256 of the file that a visitor brought.
        concepts: What the vectors are built from here.
    """

    model: str = EMBEDDED
    vectors: str | None = None
    digest: str | None = None
    concepts: Concepts | None = None

    def source(self) -> str:
        """Where its vectors are, or what they are called."""
        return self.vectors or str(shipped_folder())

    def place(self) -> str | None:
        """Where its vectors can be read again; what was brought as a file, or built here, is nowhere but in memory."""
        return self.source() if self.digest is None and self.concepts is None else None

    def code(self) -> str:
        """The Python that loads it, or builds it."""
        if self.vectors is None:
            return (
                "import emosteer\n"
                "from emosteer.vectors.shipped import shipped_folder\n\n"
                f"steered = emosteer.SteeredModel.from_pretrained({self.model!r}, vectors=shipped_folder())\n"
            )
        if self.concepts is None:
            return (
                "import emosteer\n\n"
                f"steered = emosteer.SteeredModel.from_pretrained({self.model!r}, vectors={self.source()!r})\n"
            )
        return (
            "import emosteer\n"
            "from emosteer.models.loading import load_model\n\n"
            f"model, tokenizer = load_model({self.model!r})\n"
            f"concepts = {self.concepts.code()}\n"
            "vectors = emosteer.extract(model, tokenizer, concepts)\n"
            'vectors.save_pretrained("vectors")\n'
            "steered = emosteer.SteeredModel(model, tokenizer, vectors)\n"
        )


def called(model: str) -> str:
    """What visitors are told a model is called."""
    return f"{MODEL_ID.rpartition('/')[2]} (comes with emosteer)" if model == EMBEDDED else model


def places_of(vectors: EmotionVectors) -> Places:
    """The emotions of vectors, where people place them."""
    return {name: place_of(info) for name, info in vectors.info.items()}


def on_circumplex(places: Places) -> dict[str, tuple[float, float]]:
    """Those that people have placed."""
    return {name: place for name, place in places.items() if place is not None}


def place_of(emotion: Any) -> tuple[float, float] | None:
    """Where people place an emotion, from its info or its concept."""
    rated = emotion.valence is not None and emotion.arousal is not None
    return (float(emotion.valence), float(emotion.arousal)) if rated else None
