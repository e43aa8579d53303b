"""The language of a measurement: of its prompts, of the instruction that is its control, of the judges."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer.concepts import ConceptSet
from emosteer.concepts.conceptset import built_in
from emosteer.errors import InputError, warn
from emosteer.eval.norms import SCRIPTS
from emosteer.eval.prompts import load_prompts, primary, prompt_languages

if TYPE_CHECKING:
    from emosteer.vectors.emotion_vectors import EmotionVectors

ENGLISH = "en"

_INSTRUCTIONS: dict[str, dict[str, str]] = strict_json.loads(
    (resources.files("emosteer.eval") / "data" / "instructions.json").read_bytes()
)

__all__ = ["ENGLISH", "instruction", "language_of", "listed", "same_language"]


def language_of(vectors: EmotionVectors, language: str | None = None, prompts: Sequence[str] | None = None) -> str:
    """Return the language to measure vectors in, and warn where it is not theirs.

    Args:
        vectors: What is measured.
        language: Language asked for; by default the first of the vectors' languages that there are prompts in, or
            English if there is none.
        prompts: The caller's own prompts.

    Raises:
        InputError: It is no language that there are prompts in, and none are given.
    """
    spoken = tuple(map(str, vectors.extraction.get("languages") or ()))
    if language is None:
        asked = [code for code in spoken if prompts is not None or primary(code) in prompt_languages()]
        language = asked[0] if asked else ENGLISH
    elif not language.strip():
        raise InputError("The language has no name.", f"Give one of: {', '.join(prompt_languages())}.")
    elif prompts is None:
        load_prompts("development", language)  # an unknown one is an error now
    if spoken and not same_language(language, spoken):
        warn(
            f"The prompts are in {language!r}, the vectors were made from texts in {listed(spoken)}: what is measured "
            "may not hold in their language."
        )
    if prompts is not None and _of_another_script(prompts, language):
        warn(f"The prompts are not written as {language!r} is. Name their language with language=.")
    return language


def instruction(vectors: EmotionVectors, emotion: str, language: str, *, chat: bool) -> str:
    """Return words that ask for an emotion, in a language or, if they are not known in it, in English.

    Args:
        vectors: They may know the word for the emotion in that language.
        emotion: Name of the emotion.
        language: Language of the words.
        chat: True for an instruction to a chat model, False for what stands before a text that a base model continues.
    """
    wordings = _INSTRUCTIONS["chat" if chat else "text"]
    code = primary(language)
    if code not in wordings:
        language = code = ENGLISH
    return wordings[code].format(_label(vectors, emotion, language))


def same_language(language: str, others: Iterable[str]) -> bool:
    """Return whether a language is among others, whatever their script or region."""
    return primary(language) in map(primary, others)


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: `a, b and c`."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _label(vectors: EmotionVectors, emotion: str, language: str) -> str:
    """Return the word for an emotion in a language; English has the names of the emotions themselves."""
    code = primary(language)
    if code == ENGLISH:
        return emotion
    labels = vectors.info[emotion].labels if emotion in vectors.info else {}
    if word := labels.get(language) or labels.get(code):
        return word
    return _built_in_labels(code).get(emotion, emotion)


@cache
def _built_in_labels(language: str) -> dict[str, str]:
    """Return the words of the built-in concept set in a language, if there is one: emotion → word."""
    concepts = ConceptSet.load(language).concepts if language in built_in() else {}
    return {name: emotion.labels[language] for name, emotion in concepts.items() if language in emotion.labels}


def _of_another_script(prompts: Sequence[str], language: str) -> bool:
    """Return whether most letters of prompts are in scripts that a language is not written in."""
    scripts = SCRIPTS.get(primary(language))
    letters = [letter for prompt in prompts for letter in prompt if letter.isalpha()]
    own = sum(unicodedata.name(letter, "").startswith(scripts) for letter in letters) if scripts else len(letters)
    return 2 * own < len(letters)
