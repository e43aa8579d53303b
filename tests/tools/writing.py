"""How languages are written, as far as one must know it to count words and to find one of them in a text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Writing", "writing"]


def writing(language: str) -> Writing:
    """How a language is written.

    Args:
        language: Its code; a region or script that follows it makes no difference.
    """
    return _WRITINGS.get(language.split("-", maxsplit=1)[0], Writing())


@dataclass(frozen=True)
class Writing:
    """How one language is written.

    Args:
        scripts: Beginnings of the Unicode names of its letters; empty if unknown.
        spaced: Whether spaces part its words. If not, a token is one character.
        before: Words that are written onto the beginning of the next, with "" for none.
        after: Words and endings that are written onto the end of the last, with "" for none.
        folded: Code point → how it is read: spellings that differ between writers.
    """

    scripts: tuple[str, ...] = ()
    spaced: bool = True
    before: tuple[str, ...] = ("",)
    after: tuple[str, ...] = ("",)
    folded: Mapping[int, str | None] = field(default_factory=lambda: {ord("’"): "'"})

    def tokens(self, text: str) -> list[str]:
        """The words of a text, or its characters where nothing parts them; lower case, without punctuation."""
        text = unicodedata.normalize("NFKC", text).lower().translate(self.folded)
        # Combining marks are no letters to Python, yet they hold a word together, as the vowel signs of Hindi do.
        kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
        pieces = (piece.strip("'") for piece in kept.split())
        return [token for piece in pieces for token in ([piece] if self.spaced else piece) if token]

    def said(self, tokens: Sequence[str], phrases: Iterable[Sequence[str]]) -> list[str]:
        """Look for words and phrases in a text.

        Args:
            tokens: The tokens of the text.
            phrases: The tokens of each word or phrase that is looked for.

        Returns:
            What the text says of them: words also lightly inflected, or with something written onto them.
        """
        phrases = [list(phrase) for phrase in phrases]
        words = [phrase[0] for phrase in phrases if self.spaced and len(phrase) == 1]
        found = [t for t in tokens if any(_is_form_of(bare, word) for bare in self._bare(t) for word in words)]
        for phrase in phrases:
            n = len(phrase)
            if n > 1 or not self.spaced:
                found += [self.joined(phrase)] * any(list(tokens[i : i + n]) == phrase for i in range(len(tokens)))
        return found

    def joined(self, tokens: Iterable[str]) -> str:
        """Tokens as they are shown."""
        return (" " if self.spaced else "").join(tokens)

    def own_letters(self, text: str) -> float:
        """Share of the letters that are of the language's scripts, 0 to 1; 1 where those are unknown."""
        letters = [c for c in text if c.isalpha()]
        own = sum(unicodedata.name(c, "").startswith(self.scripts) for c in letters)
        return own / len(letters) if letters and self.scripts else 1.0

    def _bare(self, token: str) -> Iterator[str]:
        """A token and its parts beside an apostrophe, each also without what may be written onto it."""
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
