"""A model and its vectors, by name, and the human ratings of its emotions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emosteer import ConceptSet
from emosteer.embedded import MODEL_ID
from emosteer.models.loading import EMBEDDED
from emosteer.vectors.shipped import SETS, shipped_folder

if TYPE_CHECKING:
    from emosteer import EmotionVectors

Places = Mapping[str, tuple[float, float] | None]
"""Emotion → human valence and arousal, or None where they are unknown."""

__all__ = ["Concepts", "Pair", "Places", "display_name", "on_circumplex", "place_of", "places_of"]


@dataclass(frozen=True)
class Concepts:
    """The texts that vectors are built from.

    Args:
        language: Code of a built-in concept set.
        emotions: Names of the emotions; empty for all of the set.
    """

    language: str
    emotions: tuple[str, ...] = ()

    def load(self) -> ConceptSet:
        """Load the concept set.

        Raises:
            ConceptError: The set has no such emotion.
        """
        whole = ConceptSet.load(self.language)
        return whole.subset(self.emotions) if self.emotions else whole

    def code(self) -> str:
        """Return the Python that loads it."""
        chosen = f".subset({list(self.emotions)!r})" if self.emotions else ""
        return f"emosteer.ConceptSet.load({self.language!r}){chosen}"


@dataclass(frozen=True)
class Pair:
    """A model and its vectors, by the names that load them.

    Args:
        model: `"embedded"`, a Hub id, a folder or a GGUF file.
        vectors: A folder, a `.safetensors` file or `user/name` on the Hub, or None for the vectors that come with
            emosteer. For vectors from an upload, or built here, only a name.
        digest: sha256 of an uploaded file.
        concepts: The texts from which the vectors are built here.
    """

    model: str = EMBEDDED
    vectors: str | None = None
    digest: str | None = None
    concepts: Concepts | None = None

    def source(self) -> str:
        """Return where the vectors are, or their name if they are only in memory."""
        return str(shipped_folder(SETS[self.model])) if self.vectors is None else self.vectors

    def place(self) -> str | None:
        """Return where the vectors can be read again, or None if they are only in memory."""
        return self.source() if self.digest is None and self.concepts is None else None

    def code(self) -> str:
        """Return the Python that loads the pair, or builds it."""
        if self.vectors is None:
            return (
                "import emosteer\n"
                "from emosteer.vectors.shipped import SETS, shipped_folder\n\n"
                f"vectors = shipped_folder(SETS[{self.model!r}])\n"
                f"steered = emosteer.SteeredModel.from_pretrained({self.model!r}, vectors=vectors)\n"
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


def display_name(model: str) -> str:
    """Return the name of a model, for visitors."""
    return f"{MODEL_ID.rpartition('/')[2]} (comes with emosteer)" if model == EMBEDDED else model


def places_of(vectors: EmotionVectors) -> Places:
    """Return the human valence and arousal of each emotion."""
    return {name: place_of(info) for name, info in vectors.info.items()}


def on_circumplex(places: Places) -> dict[str, tuple[float, float]]:
    """Return only the emotions whose valence and arousal are known."""
    return {name: place for name, place in places.items() if place is not None}


def place_of(emotion: Any) -> tuple[float, float] | None:
    """Return the human valence and arousal of an emotion, from its info or its concept."""
    rated = emotion.valence is not None and emotion.arousal is not None
    return (float(emotion.valence), float(emotion.arousal)) if rated else None
