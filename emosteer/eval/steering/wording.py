"""Measures of whether text still reads as text (loops, script, language), from words alone without a model."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from emosteer._util.languages import FUNCTION_WORDS
from emosteer.eval.language import ENGLISH
from emosteer.eval.prompts import primary

REPEATS = 3
PHRASE = 4
RUN = 5

# Signs that are no letters to Python, yet parts of words: accents, vowel signs of Arabic and Hindi.
_MARKS = "\u0300-\u036f\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963"
_WORD = re.compile(rf"\w[\w{_MARKS}]*|[^\w\s]")
_LETTERS = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*")

UNSPACED = ("ja", "zh")
"""Languages without spaces between words: there every character counts as one."""

__all__ = ["ascii_letters", "function_words", "loops", "ngrams", "other_script"]


def ngrams(tokens: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    """Count each run of n tokens."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def loops(text: str, language: str = ENGLISH) -> bool:
    """Return whether a text repeats itself: a run of 4 words 3 times, or one word or emoji 5 times in a row.

    Without spaces between words, 8 characters make a run and up to 3 of them a word.
    """
    found = (word for word in _WORD.findall(text.lower()) if word[0].isalnum() or unicodedata.category(word[0]) == "So")
    words = _parted(found, language)
    phrase, longest = (2 * PHRASE, 3) if primary(language) in UNSPACED else (PHRASE, 1)
    in_a_row = any(
        words[i : i + RUN * n] == words[i : i + n] * RUN
        for n in range(1, longest + 1)
        for i in range(len(words) - RUN * n + 1)
    )
    return in_a_row or max(ngrams(words, phrase).values(), default=0) >= REPEATS


def other_script(text: str, prompt: str) -> float:
    """Return the share of letters in scripts that the prompt does not use; 0 if there are no letters."""
    expected = set(map(_script, filter(str.isalpha, prompt)))
    letters = [_script(letter) for letter in text if letter.isalpha()]
    return sum(script not in expected for script in letters) / len(letters) if letters else 0.0


def ascii_letters(text: str) -> float:
    """Return the share of letters that are A to Z; 1 if there are no letters."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(map(str.isascii, letters)) / len(letters) if letters else 1.0


def function_words(text: str, language: str = ENGLISH) -> float:
    """Return the share of words that are common function words of a language; 0 if there are no words."""
    words = _parted(_LETTERS.findall(text.lower()), language)
    return sum(word in FUNCTION_WORDS[primary(language)] for word in words) / len(words) if words else 0.0


def _parted(words: Iterable[str], language: str) -> list[str]:
    """Return words, or their characters in a language that does not part words."""
    return [*"".join(words)] if primary(language) in UNSPACED else [*words]


def _script(letter: str) -> str:
    """Return the beginning of the letter's Unicode name: LATIN, CYRILLIC, CJK, HIRAGANA and so on."""
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
