"""Writing systems, as far as is needed to count words and to find a word in a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Writing", "writing"]


def writing(language: str) -> Writing:
    """Return the writing of a language.

    Args:
        language: Code of the language. A region or script in it is ignored.
    """
    return _WRITINGS.get(language.split("-", maxsplit=1)[0], Writing())


@dataclass(frozen=True)
class Writing:
    """Writing of one language.

    Args:
        scripts: Prefixes of the Unicode names of its letters; empty if unknown.
        spaced: Whether spaces separate its words. If not, a token is one character.
        before: Prefixes that are words of their own, with "" for none.
        after: Suffixes that are words or endings, with "" for none.
        folded: Code point → replacement, to unify spellings.
    """

    scripts: tuple[str, ...] = ()
    spaced: bool = True
    before: tuple[str, ...] = ("",)
    after: tuple[str, ...] = ("",)
    folded: Mapping[int, str | None] = field(default_factory=lambda: {ord("’"): "'"})

    def tokens(self, text: str) -> list[str]:
        """Split a text into words, or characters where words are not separated; lower case, without punctuation."""
        text = unicodedata.normalize("NFKC", text).lower().translate(self.folded)
        # Combining marks are not letters for Python, yet part of a word, as the vowel signs of Hindi are.
        kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
        pieces = (piece.strip("'") for piece in kept.split())
        return [token for piece in pieces for token in ([piece] if self.spaced else piece) if token]

    def mentions(self, tokens: Sequence[str], phrases: Iterable[Sequence[str]]) -> list[str]:
        """Find words and phrases in a text.

        Args:
            tokens: The tokens of the text.
            phrases: The tokens of each word or phrase.

        Returns:
            Those in the text. Words are also found lightly inflected, or with a prefix or suffix.
        """
        phrases = [list(phrase) for phrase in phrases]
        words = [phrase[0] for phrase in phrases if self.spaced and len(phrase) == 1]
        mentions = [t for t in tokens if any(_is_form_of(bare, word) for bare in self._bare(t) for word in words)]
        for phrase in phrases:
            n = len(phrase)
            if n > 1 or not self.spaced:
                mentions += [self.joined(phrase)] * any(list(tokens[i : i + n]) == phrase for i in range(len(tokens)))
        return mentions

    def joined(self, tokens: Iterable[str]) -> str:
        """Join tokens as the language does."""
        return (" " if self.spaced else "").join(tokens)

    def own_letters(self, text: str) -> float:
        """Return the share of letters in the scripts of the language, 0 to 1; 1 if they are unknown."""
        letters = [c for c in text if c.isalpha()]
        own = sum(unicodedata.name(c, "").startswith(self.scripts) for c in letters)
        return own / len(letters) if letters and self.scripts else 1.0

    def _bare(self, token: str) -> Iterator[str]:
        """Yield a token and its parts beside an apostrophe, each with and without prefixes and suffixes."""
        for part in {token, *token.split("'")}:
            for start in self.before:
                for end in self.after:
                    if part.startswith(start) and part.endswith(end):
                        yield part[len(start) : len(part) - len(end)]


def _is_form_of(word: str, stem: str) -> bool:
    # A rule of thumb, strict enough for a check: 'jealously' is a form of 'jealous', 'angle' is none of 'anger'.
    return word == stem or (
        len(stem) > 4 and word.startswith(stem[: max(5, len(stem) - 2)]) and len(word) - len(stem) <= 4
    )


_WRITINGS = {
    **dict.fromkeys(("en", "es", "de", "fr"), Writing(("LATIN",))),
    "zh": Writing(("CJK",), spaced=False),
    "ja": Writing(("CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA"), spaced=False),
    "hi": Writing(("DEVANAGARI",)),
    "ar": Writing(
        ("ARABIC",),
        # "And" or "so", then "the" or "with", "like", "for", "will", or what these become with "the".
        before=tuple(a + b for a in ("", "و", "ف") for b in ("", "ال", "ب", "بال", "ك", "كال", "ل", "لل", "س")),
        # My, your, his, her, their, our; the accusative.
        after=("", "ي", "ني", "ك", "كم", "ه", "ها", "هم", "هن", "هما", "نا", "ا"),  # noqa: RUF001
        # One alef, one final ya, and ta marbuta as the ta that it is before an ending; stretching and vowel signs fall.
        folded={
            **dict(zip(map(ord, "أإآٱىة"), "ااااي" + "ت", strict=True)),
            **dict.fromkeys((0x640, *range(0x64B, 0x653), 0x670)),
        },
    ),
}
