"""Measures of whether text still reads as text (loops, script, language), from words alone without a model."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence

REPEATS = 3
PHRASE = 4
RUN = 5

FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about after all also an and any are as at be been but by can could did do for from had has have he "
        "her his how i if in into is it its just me more my no not of on or our out she so some than that the "
        "their them then there they this to up very was we were what when which who will with would you your",
    )
)
"""Common English words that carry no topic. Their share falls where text leaves the language or falls apart."""

_WORD = re.compile(r"\w+|[^\w\s]")

__all__ = ["ascii_letters", "function_words", "loops", "ngrams", "other_script"]


def ngrams(tokens: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    """Count each run of n tokens."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def loops(text: str) -> bool:
    """Return whether a text repeats itself: a run of 4 words 3 times, or one word or emoji 5 times in a row."""
    words = [word for word in _WORD.findall(text.lower()) if word[0].isalnum() or unicodedata.category(word) == "So"]
    in_a_row = any(len(set(words[i : i + RUN])) == 1 for i in range(len(words) - RUN + 1))
    return in_a_row or max(ngrams(words, PHRASE).values(), default=0) >= REPEATS


def other_script(text: str, prompt: str) -> float:
    """Return the share of letters in scripts that the prompt does not use; 0 if there are no letters."""
    expected = set(map(_script, filter(str.isalpha, prompt)))
    letters = [_script(letter) for letter in text if letter.isalpha()]
    return sum(script not in expected for script in letters) / len(letters) if letters else 0.0


def ascii_letters(text: str) -> float:
    """Return the share of letters that are A to Z; 1 if there are no letters."""
    letters = [letter for letter in text if letter.isalpha()]
    return sum(map(str.isascii, letters)) / len(letters) if letters else 1.0


def function_words(text: str) -> float:
    """Return the share of words that are common English function words; 0 if there are no words."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return sum(word in FUNCTION_WORDS for word in words) / len(words) if words else 0.0


def _script(letter: str) -> str:
    """Return the beginning of the letter's Unicode name: LATIN, CYRILLIC, CJK, HIRAGANA and so on."""
    return unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
