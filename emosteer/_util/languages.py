"""Which language a text is in, by its script and its most common words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from importlib import resources

from emosteer._util import strict_json

FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in strict_json.loads(
        (resources.files("emosteer._util") / "data" / "function-words.json").read_bytes()
    ).items()
}
"""Language → common words that carry no topic."""

ENOUGH = 2000
"""Characters of a text that are looked at."""

_LATIN = ("en", "es", "de", "fr")
_SCRIPTS = {"ARABIC": "ar", "CJK": "zh", "DEVANAGARI": "hi", "HIRAGANA": "ja", "KATAKANA": "ja", "LATIN": "en"}
_WORD_LENGTH = 5  # letters of a script with spaces that say as much as one sign of a script without
_LETTERS = re.compile(r"[^\W\d_]+")

__all__ = ["FUNCTION_WORDS", "guessed"]


def guessed(text: str) -> str | None:
    """Return the language of a text, one of those of the built-in concept sets, or None if it shows none of them."""
    text = text[:ENOUGH].lower()
    amounts: Counter[str] = Counter()
    for letter in filter(str.isalpha, text):
        language = _SCRIPTS.get(re.split(r"[ -]", unicodedata.name(letter, ""))[0], "")
        amounts[language] += _WORD_LENGTH if language in ("ja", "zh") else 1
    if amounts["ja"]:  # writes with the signs of Chinese too
        amounts["ja"] += amounts.pop("zh", 0)
    language = max(amounts, key=lambda name: amounts[name], default="")
    if language != "en":
        return language or None
    words = _LETTERS.findall(text)
    counts = {name: sum(word in FUNCTION_WORDS[name] for word in words) for name in _LATIN}
    best = max(_LATIN, key=lambda name: counts[name])
    return best if counts[best] else None
