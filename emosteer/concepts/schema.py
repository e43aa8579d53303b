"""The JSON form of a concept set, schema version 1: what it must hold, checked entry by entry.

`emosteer/concepts/data/en.json` is an example.

    {"schema_version": 1, "name": "…", "license": "Apache-2.0",
     "emotions": {"joy": {
         "labels": {"en": "joy"}, "valence": 0.765, "arousal": 0.485, "source": "…",
         "texts": {"en": {"word_family": […], "words": […], "sentences": […], "situations": […],
                          "held_out": {"sentences": […], "situations": […]}}}}},
     "neutral": {"en": {"sentences": […], "held_out": […], "frames": ["The word {}", …]}}}

The id of a text is its position, as `joy/en/situations/3`. The languages of a set list their texts in parallel, by
position.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from emosteer._util import strict_json
from emosteer._util.names import EMOTION_NAME, LANGUAGE
from emosteer.concepts.emotion import PARTS, Emotion, Neutral, Texts
from emosteer.errors import ConceptError

SCHEMA_VERSION = 1
MAX_CHARACTERS = 2_000
_CONTROL = {"Cc", "Cs", "Zl", "Zp"}
_OVERRIDES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # they reorder what a terminal shows

K = TypeVar("K")

__all__ = ["parse_json", "parse_set", "to_json"]


def parse_json(data: bytes, where: str) -> Any:
    """Parse JSON, in which no key may appear twice.

    Args:
        data: The file.
        where: Its name, for errors.

    Raises:
        ConceptError: The file is not text or not valid JSON.
    """
    try:
        return strict_json.loads(data)
    except ValueError as error:
        raise ConceptError(f"{where} is not a JSON file that can be read: {error}.") from None


def parse_set(data: Any, where: str) -> tuple[str, dict[str, Emotion], dict[str, Neutral], str | None]:
    """Check the JSON form.

    Args:
        data: The parsed JSON.
        where: Name of the file, for errors.

    Returns:
        Name of the set, emotions by name, neutral texts by language code, and license.

    Raises:
        ConceptError: Something is missing, unknown or malformed. The message names the file, the emotion and the item.
    """
    top = _fields(data, where, {"schema_version", "name", "emotions", "neutral"}, {"license", "description"})
    if top["schema_version"] != SCHEMA_VERSION or isinstance(top["schema_version"], bool):
        raise ConceptError(
            f"{where}: schema_version is {top['schema_version']!r}, this emosteer reads {SCHEMA_VERSION}.",
            "A later emosteer may read it." if isinstance(top["schema_version"], int) else None,
        )
    neutral = {
        language: _neutral(language, value, f"{where}: neutral: {_shown(language)}")
        for language, value in _object(top["neutral"], f"{where}: neutral").items()
    }
    emotions = {
        name: _emotion(name, value, f"{where}: {_shown(name)}", neutral)
        for name, value in _object(top["emotions"], f"{where}: emotions").items()
    }
    if not isinstance(top["name"], str) or not top["name"].isprintable() or not 0 < len(top["name"]) <= 64:
        raise ConceptError(f"{where}: name must be printable text of 1 to 64 characters.")
    return top["name"], emotions, neutral, _optional(top, "license", str, where)


def to_json(
    name: str, emotions: Mapping[str, Emotion], neutral: Mapping[str, Neutral], spdx: str | None
) -> dict[str, Any]:
    """Return the JSON form, which `parse_set` reads back.

    Args:
        name: Name of the set.
        emotions: Emotions by name.
        neutral: Neutral texts by language code.
        spdx: License, as an SPDX identifier, or None.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "license": spdx,
        "emotions": {key: _emotion_to_json(emotion) for key, emotion in emotions.items()},
        "neutral": {language: _lists(texts) for language, texts in neutral.items()},
    }


def _emotion_to_json(emotion: Emotion) -> dict[str, Any]:
    texts = {}
    for language, parts in emotion.texts.items():
        lists = _lists(parts)
        held_out = {part: lists.pop(f"held_out_{part}") for part in PARTS[1:]}
        texts[language] = {**lists, "held_out": held_out}
    return {
        "labels": dict(emotion.labels),
        "valence": emotion.valence,
        "arousal": emotion.arousal,
        "source": emotion.source,
        "texts": texts,
    }


def _lists(texts: Texts | Neutral) -> dict[str, list[str]]:
    return {key: list(value) for key, value in asdict(texts).items()}


def _neutral(language: str, value: Any, where: str) -> Neutral:
    _check_language(language, where)
    entry = _fields(value, where, {"sentences"}, {"held_out", "frames"})
    neutral = Neutral(
        _texts(entry["sentences"], f"{where}: sentences"),
        _texts(entry.get("held_out", []), f"{where}: held_out", may_be_empty=True),
        _texts(entry.get("frames", list(Neutral.frames)), f"{where}: frames"),
    )
    _check_held_out(neutral.sentences, neutral.held_out, f"{where}: held_out")
    for i, frame in enumerate(neutral.frames):
        if frame.count("{}") != 1 or frame.startswith("{}"):
            raise ConceptError(f"{where}: frames[{i}] needs one {{}} for the word, not at its beginning: {frame!r}.")
    return neutral


def _emotion(name: str, value: Any, where: str, neutral: Mapping[str, Neutral]) -> Emotion:
    if not EMOTION_NAME.fullmatch(name):
        raise ConceptError(
            f"{where}: an emotion's name is lower-case ASCII letters, digits, - and _, at most 64, a letter first."
        )
    entry = _fields(value, where, {"texts"}, {"labels", "valence", "arousal", "source"})
    texts = {
        language: _texts_of(language, lists, f"{where}: {_shown(language)}")
        for language, lists in _object(entry["texts"], f"{where}: texts").items()
    }
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


def _texts_of(language: str, value: Any, where: str) -> Texts:
    _check_language(language, where)
    entry = _fields(value, where, set(PARTS), {"word_family", "held_out"})
    held_out = _fields(entry.get("held_out", {}), f"{where}: held_out", set(), set(PARTS[1:]))
    texts = Texts(
        **{part: _texts(entry[part], f"{where}: {part}") for part in PARTS},
        word_family=_texts(entry.get("word_family", []), f"{where}: word_family", may_be_empty=True),
        **{
            f"held_out_{part}": _texts(held_out.get(part, []), f"{where}: held_out {part}", may_be_empty=True)
            for part in PARTS[1:]
        },
    )
    for part in PARTS[1:]:
        _check_held_out(getattr(texts, part), getattr(texts, f"held_out_{part}"), f"{where}: held_out {part}")
    return texts


def _object(value: Any, where: str, *, may_be_empty: bool = False) -> dict[str, Any]:
    if not isinstance(value, dict) or (not value and not may_be_empty):
        raise ConceptError(f"{where} must be a JSON object with at least one entry.")
    return value


def _fields(value: Any, where: str, required: set[str], optional: set[str]) -> dict[str, Any]:
    entry = _object(value, where, may_be_empty=not required)
    if missing := required - set(entry):
        raise ConceptError(f"{where}: {_listed(missing)} missing.", f"It needs {_listed(required)}.")
    if unknown := set(entry) - required - optional:
        raise ConceptError(f"{where}: unknown {_listed(unknown)}.", f"It may have {_listed(required | optional)}.")
    return entry


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
