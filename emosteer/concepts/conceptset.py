"""ConceptSet: emotions with their texts per language and their human ratings, read from JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from emosteer._util import strict_json
from emosteer.concepts import schema
from emosteer.concepts.emotion import PARTS, Emotion, Neutral, Texts
from emosteer.errors import ConceptError

_DATA = resources.files("emosteer.concepts") / "data"

T = TypeVar("T", bound="Texts | Neutral")

__all__ = ["PARTS", "ConceptSet", "Emotion", "Neutral", "Texts", "built_in"]


@dataclass(frozen=True)
class ConceptSet:
    """A set of emotions with their texts, and the neutral texts that they share.

    Args:
        name: Name of the set, also in the vector files made from it.
        concepts: Emotion name → emotion.
        neutral: Language code → neutral texts.
        license: SPDX identifier of the texts.
    """

    name: str
    concepts: Mapping[str, Emotion]
    neutral: Mapping[str, Neutral]
    license: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "concepts", dict(self.concepts))
        object.__setattr__(self, "neutral", dict(self.neutral))

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions, in the order of the set."""
        return tuple(self.concepts)

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that the set has texts in."""
        return tuple(self.neutral)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON of the whole set, which does not depend on how the file is formatted."""
        return hashlib.sha256(strict_json.canonical(self.to_dict()).encode()).hexdigest()

    def __getitem__(self, emotion: str) -> Emotion:
        try:
            return self.concepts[emotion]
        except KeyError:
            raise ConceptError(
                f"The concept set {self.name!r} has no emotion {emotion!r}.", f"It has: {', '.join(self.emotions)}."
            ) from None

    @classmethod
    def load(cls, source: str | Path) -> ConceptSet:
        """Read and check a concept set.

        Args:
            source: The code of a built-in set (`"en"`), the path of a JSON file of the same form, or several of these
                with commas between (`"en,zh"`), to be merged in that order.

        Returns:
            The set.

        Raises:
            ConceptError: There is no such set or file, or it is malformed: the message names the file, the emotion and
                the item. Or several sets cannot be merged.
        """
        if source in built_in():
            file = _DATA / f"{source}.json"
            return cls.from_dict(schema.parse_json(file.read_bytes(), file.name), file.name)
        path = Path(source)
        if isinstance(source, str) and "," in source and not path.is_file():
            first, *others = (cls.load(part.strip()) for part in source.split(","))
            name = "+".join((first.name, *(other.name.removeprefix("emosteer-") for other in others)))
            return replace(reduce(cls.merge, others, first), name=name[:64])
        if not path.is_file():
            raise ConceptError(
                f"There is no concept set {str(source)!r}.",
                f"Give the path of a JSON file, or a built-in set: {', '.join(built_in())}; or several, as in en,zh.",
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConceptError(f"{path} cannot be read ({error.strerror}).") from error
        return cls.from_dict(schema.parse_json(data, path.name), path.name)

    @classmethod
    def from_dict(cls, data: Any, where: str = "concept set") -> ConceptSet:
        """Make a concept set from its JSON form, which is checked.

        Args:
            data: The parsed JSON.
            where: Name for errors, usually that of the file.

        Raises:
            ConceptError: As for `load`.
        """
        return cls(*schema.parse_set(data, where))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, which `from_dict` reads back."""
        return schema.to_json(self.name, self.concepts, self.neutral, self.license)

    def subset(self, emotions: Sequence[str], *, languages: Sequence[str] | None = None) -> ConceptSet:
        """Return the set with only some of its emotions and languages.

        Args:
            emotions: Names of the emotions to keep, in the order wanted.
            languages: Codes of the languages to keep; all by default.

        Raises:
            ConceptError: One of them is not in the set.
        """
        kept = tuple(self.languages if languages is None else languages)
        for language in kept:
            if language not in self.neutral:
                raise ConceptError(
                    f"The concept set {self.name!r} does not speak {language!r}.",
                    f"It speaks: {', '.join(self.languages)}.",
                )
        concepts = {}
        for name in emotions:
            emotion = self[name]
            concepts[name] = replace(
                emotion,
                texts={language: emotion.texts[language] for language in kept},
                labels={language: label for language, label in emotion.labels.items() if language in kept},
            )
        return replace(self, concepts=concepts, neutral={language: self.neutral[language] for language in kept})

    def merge(self, other: ConceptSet, *, name: str | None = None) -> ConceptSet:
        """Return one set with the emotions, languages and texts of both.

        A text that is in both is kept once. A held-out text that the other set builds vectors from is no longer held
        out.

        Args:
            other: A set in the same or in other languages. Every emotion must end up with texts in every language.
            name: Name of the result; by default both names, joined with `+`.

        Raises:
            ConceptError: The two disagree on an emotion's human ratings, or an emotion would lack a language.
        """
        concepts = dict(self.concepts)
        for key, theirs in other.concepts.items():
            concepts[key] = _merged(concepts[key], theirs) if key in concepts else theirs
        neutral = dict(self.neutral)
        for language, part in other.neutral.items():
            neutral[language] = _united(neutral.get(language), part)
        for emotion in concepts.values():
            for language in neutral:
                if language not in emotion.texts:
                    raise ConceptError(
                        f"Merged with {other.name!r}, {self.name!r} has {emotion.name} without texts in {language!r}.",
                        "Take subsets of the emotions that both have first.",
                    )
        shared = self.license if self.license == other.license else None
        return ConceptSet(name or f"{self.name}+{other.name}"[:64], concepts, neutral, shared)

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each emotion and language: the number of texts of each part, and the human ratings."""
        return [
            {
                "emotion": emotion.name,
                "language": language,
                **{part: len(getattr(texts, part)) for part in PARTS},
                "held_out": len(texts.held_out_sentences) + len(texts.held_out_situations),
                "valence": emotion.valence,
                "arousal": emotion.arousal,
            }
            for emotion in self.concepts.values()
            for language, texts in emotion.texts.items()
        ]


def built_in() -> tuple[str, ...]:
    """Return the codes of the concept sets that come with emosteer."""
    return tuple(sorted(file.name.removesuffix(".json") for file in _DATA.iterdir() if file.name.endswith(".json")))


def _merged(ours: Emotion, theirs: Emotion) -> Emotion:
    rated = [emotion for emotion in (ours, theirs) if (emotion.valence, emotion.arousal) != (None, None)]
    if len({(emotion.valence, emotion.arousal) for emotion in rated}) > 1:
        raise ConceptError(f"The two sets rate {ours.name} differently.", "Set one of the ratings to null.")
    texts = dict(ours.texts)
    for language, parts in theirs.texts.items():
        texts[language] = _united(texts.get(language), parts)
    base = rated[0] if rated else ours
    return replace(base, texts=texts, labels={**theirs.labels, **ours.labels})


def _united(ours: T | None, theirs: T) -> T:
    if ours is None:
        return theirs
    both: dict[str, Any] = {}
    for part in fields(ours):
        both[part.name] = tuple(dict.fromkeys((*getattr(ours, part.name), *getattr(theirs, part.name))))
    for name in [name for name in both if name.startswith("held_out")]:
        built_from = both[name.removeprefix("held_out_") if name != "held_out" else "sentences"]
        both[name] = tuple(text for text in both[name] if text not in built_from)
    return replace(ours, **both)
