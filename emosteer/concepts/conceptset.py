"""ConceptSet: emotions, their texts per language, human valence and arousal; read from JSON and checked on the way.

The JSON form, schema version 1 (`emosteer/concepts/data/en.json` is an example):

    {"schema_version": 1, "name": "…", "license": "Apache-2.0",
     "emotions": {"joy": {
         "labels": {"en": "joy"}, "valence": 0.765, "arousal": 0.485, "source": "…",
         "texts": {"en": {"word_family": […], "words": […], "sentences": […], "situations": […],
                          "held_out": {"sentences": […], "situations": […]}}}}},
     "neutral": {"en": {"sentences": […], "held_out": […], "frames": ["The word {}", …]}}}

The id of a text is its place, `joy/en/situations/3`, and languages of one set run parallel by place.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import reduce
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from emosteer._util import strict_json
from emosteer._util.names import EMOTION_NAME as NAME
from emosteer._util.names import LANGUAGE
from emosteer.errors import ConceptError

SCHEMA_VERSION = 1
PARTS = ("words", "sentences", "situations")
MAX_CHARACTERS = 2_000
_DATA = resources.files("emosteer.concepts") / "data"
_CONTROL = {"Cc", "Cs", "Zl", "Zp"}
_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # they reorder what a terminal shows

T = TypeVar("T", bound="Texts | Neutral")
K = TypeVar("K")

__all__ = ["NAME", "PARTS", "ConceptSet", "Emotion", "Neutral", "Texts", "built_in"]


@dataclass(frozen=True)
class Texts:
    """What one emotion is in one language.

    Args:
        words: Single words that people associate with the emotion.
        sentences: First-person sentences that name it.
        situations: Situations and utterances that never name it.
        word_family: Every form of the emotion's name; no situation contains one.
        held_out_sentences: Like `sentences`, never used to build vectors.
        held_out_situations: Like `situations`, never used to build vectors.
    """

    words: tuple[str, ...]
    sentences: tuple[str, ...]
    situations: tuple[str, ...]
    word_family: tuple[str, ...] = ()
    held_out_sentences: tuple[str, ...] = ()
    held_out_situations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Neutral:
    """Texts without feeling, in one language: what emotions are measured against.

    Args:
        sentences: Used to build vectors.
        held_out: Never used to build vectors.
        frames: Short sentences with `{}` where a single word is put, since a bare word is the model's attention sink.
    """

    sentences: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    frames: tuple[str, ...] = ('"{}"',)


@dataclass(frozen=True)
class Emotion:
    """One emotion: its texts by language code, its labels, and where people place it.

    Args:
        name: Lower-case ASCII name, the key by which it is asked for.
        texts: Language code → texts.
        labels: Language code → what speakers call it.
        valence: Human rating from −1 (unpleasant) to 1 (pleasant), or None.
        arousal: Human rating from −1 (still) to 1 (stirred up), or None.
        source: Where the two ratings come from, or None.
    """

    name: str
    texts: Mapping[str, Texts]
    labels: Mapping[str, str] = field(default_factory=dict)
    valence: float | None = None
    arousal: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class ConceptSet:
    """A set of emotions with their texts, and the neutral texts that they share.

    Args:
        name: What the set is called in the files that are made from it.
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
        """Names of the emotions, in the set's order."""
        return tuple(self.concepts)

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages in which the set speaks."""
        return tuple(self.neutral)

    @property
    def digest(self) -> str:
        """sha256 over the canonical JSON of the whole set: equal for equal content, whatever the file looked like."""
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
            ConceptError: There is no such set or file, or it does not hold what a concept set must; the message names
                the file, the emotion and the item. Or several sets do not go together, as for `merge`.
        """
        if source in built_in():
            file = _DATA / f"{source}.json"
            return cls.from_dict(_parse(file.read_bytes(), file.name), file.name)
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
        return cls.from_dict(_parse(data, path.name), path.name)

    @classmethod
    def from_dict(cls, data: Any, where: str = "concept set") -> ConceptSet:
        """Check and take the JSON form.

        Args:
            data: The parsed JSON.
            where: What to call it in errors, usually the file's name.

        Raises:
            ConceptError: As for `load`.
        """
        top = _fields(data, where, {"schema_version", "name", "emotions", "neutral"}, {"license", "description"})
        if top["schema_version"] != SCHEMA_VERSION or isinstance(top["schema_version"], bool):
            raise ConceptError(
                f"{where}: schema_version is {top['schema_version']!r}, this emosteer reads {SCHEMA_VERSION}.",
                "A later emosteer may read it." if isinstance(top["schema_version"], int) else None,
            )
        neutral = {}
        for language, value in _object(top["neutral"], f"{where}: neutral").items():
            at = f"{where}: neutral: {_shown(language)}"
            _check_language(language, at)
            part = _fields(value, at, {"sentences"}, {"held_out", "frames"})
            neutral[language] = Neutral(
                _texts(part["sentences"], f"{at}: sentences"),
                _texts(part.get("held_out", []), f"{at}: held_out", may_be_empty=True),
                _texts(part.get("frames", list(Neutral.frames)), f"{at}: frames"),
            )
            _check_held_out(neutral[language].sentences, neutral[language].held_out, f"{at}: held_out")
            for i, frame in enumerate(neutral[language].frames):
                if frame.count("{}") != 1 or frame.startswith("{}"):
                    raise ConceptError(
                        f"{at}: frames[{i}] needs one {{}} for the word, not at its beginning: {frame!r}."
                    )
        concepts = {
            name: _emotion(name, value, f"{where}: {_shown(name)}", neutral)
            for name, value in _object(top["emotions"], f"{where}: emotions").items()
        }
        if not isinstance(top["name"], str) or not top["name"].isprintable() or not 0 < len(top["name"]) <= 64:
            raise ConceptError(f"{where}: name must be printable text of 1 to 64 characters.")
        return cls(top["name"], concepts, neutral, _optional(top, "license", str, where))

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` takes it back."""
        emotions: dict[str, Any] = {}
        for name, emotion in self.concepts.items():
            texts = {}
            for language, parts in emotion.texts.items():
                lists = {key: list(value) for key, value in asdict(parts).items()}
                held_out = {part: lists.pop(f"held_out_{part}") for part in PARTS[1:]}
                texts[language] = {**lists, "held_out": held_out}
            emotions[name] = {
                "labels": dict(emotion.labels),
                "valence": emotion.valence,
                "arousal": emotion.arousal,
                "source": emotion.source,
                "texts": texts,
            }
        neutral = {
            language: {key: list(value) for key, value in asdict(part).items()}
            for language, part in self.neutral.items()
        }
        return {
            "schema_version": SCHEMA_VERSION,
            "name": self.name,
            "license": self.license,
            "emotions": emotions,
            "neutral": neutral,
        }

    def subset(self, emotions: Sequence[str], *, languages: Sequence[str] | None = None) -> ConceptSet:
        """The same set with only some emotions, in the order asked for, and only some languages.

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
        """Both sets in one: emotions, languages and texts of either.

        A text that stands in both is kept once; one that either set builds vectors from is not held out any more.

        Args:
            other: A set in the same or in other languages; every emotion must end up with texts in every language.
            name: Name of the result, by default both names joined with `+`.

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
        """One row per emotion and language: how many texts of each part, and the human ratings."""
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
    """The codes of the sets that come with emosteer."""
    return tuple(sorted(file.name.removesuffix(".json") for file in _DATA.iterdir() if file.name.endswith(".json")))


def _parse(data: bytes, where: str) -> Any:
    try:
        return strict_json.loads(data)
    except ValueError as error:
        raise ConceptError(f"{where} is not a JSON file that can be read: {error}.") from None


def _emotion(name: str, value: Any, where: str, neutral: Mapping[str, Neutral]) -> Emotion:
    if not NAME.fullmatch(name):
        raise ConceptError(
            f"{where}: an emotion's name is lower-case ASCII letters, digits, - and _, at most 64, a letter first."
        )
    entry = _fields(value, where, {"texts"}, {"labels", "valence", "arousal", "source"})
    texts = {}
    for language, lists in _object(entry["texts"], f"{where}: texts").items():
        at = f"{where}: {_shown(language)}"
        _check_language(language, at)
        parts = _fields(lists, at, set(PARTS), {"word_family", "held_out"})
        held_out = _fields(parts.get("held_out", {}), f"{at}: held_out", set(), set(PARTS[1:]))
        texts[language] = Texts(
            **{part: _texts(parts[part], f"{at}: {part}") for part in PARTS},
            word_family=_texts(parts.get("word_family", []), f"{at}: word_family", may_be_empty=True),
            **{
                f"held_out_{part}": _texts(held_out.get(part, []), f"{at}: held_out {part}", may_be_empty=True)
                for part in PARTS[1:]
            },
        )
        for part in PARTS[1:]:
            built, kept = getattr(texts[language], part), getattr(texts[language], f"held_out_{part}")
            _check_held_out(built, kept, f"{at}: held_out {part}")
    if set(texts) != set(neutral):
        raise ConceptError(
            f"{where}: has texts in {_listed(texts)}, the neutral part is in {_listed(neutral)}.",
            "Every emotion and the neutral part need the same languages.",
        )
    labels = _object(entry.get("labels", {}), f"{where}: labels", may_be_empty=True)
    for language, label in labels.items():
        if language not in texts or not isinstance(label, str) or not label.isprintable() or not 0 < len(label) <= 64:
            raise ConceptError(f"{where}: labels: {language!r} must be a language of the emotion, with a short text.")
    ratings = {axis: _optional(entry, axis, float, where) for axis in ("valence", "arousal")}
    for axis, rating in ratings.items():
        if rating is not None and not -1 <= rating <= 1:
            raise ConceptError(f"{where}: {axis} is {rating}, it must lie between -1 and 1.", "Rescale the ratings.")
    return Emotion(name, texts, labels, ratings["valence"], ratings["arousal"], _optional(entry, "source", str, where))


def _merged(ours: Emotion, theirs: Emotion) -> Emotion:
    rated = [e for e in (ours, theirs) if e.valence is not None or e.arousal is not None]
    if len({(e.valence, e.arousal) for e in rated}) > 1:
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
        learned = both[name.removeprefix("held_out_") if name != "held_out" else "sentences"]
        both[name] = tuple(text for text in both[name] if text not in learned)
    return replace(ours, **both)


def _object(value: Any, where: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    if not isinstance(value, dict) or (not value and not may_be_empty):
        raise ConceptError(f"{where} must be a JSON object with at least one entry.")
    found: dict[str, Any] = value
    return found


def _fields(value: Any, where: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    found = _object(value, where, may_be_empty=not required)
    if missing := required - set(found):
        raise ConceptError(f"{where}: {_listed(missing)} missing.", f"It needs {_listed(required)}.")
    if unknown := set(found) - required - optional:
        raise ConceptError(f"{where}: unknown {_listed(unknown)}.", f"It may have {_listed(required | optional)}.")
    return found


def _texts(value: Any, where: str, *, may_be_empty: bool = False) -> tuple[str, ...]:
    if not isinstance(value, list) or (not value and not may_be_empty):
        raise ConceptError(f"{where} must be a list of texts{'' if may_be_empty else ', at least one'}.")
    seen: dict[str, int] = {}
    for i, text in enumerate(value):
        if not isinstance(text, str) or not text.strip():
            raise ConceptError(f"{where}[{i}] is empty or not a text.")
        if len(text) > MAX_CHARACTERS:
            raise ConceptError(f"{where}[{i}] has {len(text)} characters, at most {MAX_CHARACTERS} are read.")
        if any(unicodedata.category(c) in _CONTROL or unicodedata.bidirectional(c) in _OVERRIDES for c in text):
            raise ConceptError(f"{where}[{i}] contains a line break or a control character: {text[:40]!a}.")
        if text in seen:
            raise ConceptError(f"{where}[{i}] is the same text as [{seen[text]}]: {text[:40]!r}.")
        seen[text] = i
    return tuple(value)


def _optional(entry: Mapping[str, Any], key: str, kind: type[K], where: str) -> K | None:
    value = entry.get(key)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e9 else float("inf")  # a longer number may not fit a float
    if value is not None and not isinstance(value, kind):
        raise ConceptError(f"{where}: {key} must be {'a number' if kind is float else 'a text'} or null.")
    if isinstance(value, str) and not (value.isprintable() and len(value) <= 1_000):
        raise ConceptError(f"{where}: {key} must be one line of at most 1000 characters.")
    return value


def _check_held_out(built: tuple[str, ...], held_out: tuple[str, ...], where: str) -> None:
    for i, text in enumerate(held_out):
        if text in built:
            raise ConceptError(f"{where}[{i}] is the same text as one that vectors are built from: {text[:40]!r}.")


def _shown(name: str) -> str:
    return name[:70] if name.isprintable() else ascii(name[:70])


def _check_language(code: str, where: str) -> None:
    if not LANGUAGE.fullmatch(code):
        raise ConceptError(f"{where}: {code!r} is not a language code such as en, zh or pt-BR.")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
