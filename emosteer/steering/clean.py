"""Clean language: a logits processor that rules out coarse words while a recipe is on.

Most coarse words are several tokens, and the last token of a word is ruled out after its others. That takes a look into
a table at each token, where transformers' `NoBadWordsLogitsProcessor` goes through every word.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from emosteer._util import strict_json
from emosteer.steering.tones import Tone, copies_of_each

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

INFLECTIONS = ("", "s", "es", "ed", "ing", "er", "ers", "y")

EVERYDAY = ("cum", "negro", "spic")
"""Words of the list that are everyday words of another language, or begin some: black in Spanish, spices."""

SHORT = 3
"""Letters up to which a word is not inflected, since other words begin so: "asses" with "assessment"."""

SPELT = 5
"""Letters that a word needs to be ruled out where each letter is a token, and shorter ones begin too many others."""

_LISTS: Mapping[str, Mapping[str, str]] = {
    language: parts
    for language, parts in strict_json.loads(
        (resources.files("emosteer._util") / "data" / "coarse.json").read_bytes()
    ).items()
    if language != "about"
}
_tables: WeakKeyDictionary[PreTrainedTokenizerBase, _Table] = WeakKeyDictionary()

__all__ = ["CleanLanguage"]


class CleanLanguage:
    """A logits processor that rules out coarse words, in the rows that have a tone.

    Args:
        tokenizer: The model's tokenizer.
        tones: One tone for all rows, or one for each.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tones: Sequence[Tone]) -> None:
        if tokenizer not in _tables:
            _tables[tokenizer] = _Table(tokenizer)
        self._table = _tables[tokenizer]
        self._toned = [any(tone.values()) for tone in tones]

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        """Return the scores with −inf at each token that would end a coarse word.

        A row in which nothing else is left, since a processor before this one has ruled it out, stays as it is.

        Args:
            ids: `[batch · beams, tokens]`, the prompt and what has been generated.
            scores: `[batch · beams, vocabulary]`.

        Raises:
            ToneError: The number of tones does not fit the batch.
        """
        copies = copies_of_each(len(self._toned), len(scores))
        clean = scores.clone()
        for row, recent in enumerate(ids[:, -self._table.longest :].tolist()):
            if self._toned[row // copies] and (ends := self._table.ends_after(recent)):
                clean[row, ends] = -math.inf
                if clean[row].amax() == -math.inf:
                    clean[row] = scores[row]
        return clean


class _Table:
    """The tokens that end a coarse word, by those before them.

    Args:
        tokenizer: The model's tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._ends: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._bare: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._in_word: dict[int, bool] = {}
        english = [word for word in _words("en") if word not in EVERYDAY]
        forms = [word + ending for word in english for ending in INFLECTIONS if not ending or len(word) > SHORT]
        forms = [written for form in forms for written in (form, form.capitalize(), form.upper())]
        for table, before, texts in (
            (self._ends, "a", [f" {form}" for form in forms]),
            (self._bare, "\n", forms),
            (self._ends, "\n", _words("zh")),
        ):
            for ids in self._encoded(before, texts):
                table[tuple(ids[:-1])].append(ids[-1])
        self.longest = 1 + max((len(before) for table in (self._ends, self._bare) for before in table), default=0)

    def ends_after(self, recent: Sequence[int]) -> list[int]:
        """Return the tokens that would end a coarse word after these."""
        found: list[int] = []
        for start in range(len(recent) + 1):
            before = tuple(recent[start:])
            found += self._ends.get(before, ())
            # Without a space before it, it is a word only where none is going on: "ass" ends "grass", too.
            if before in self._bare and not (start and self._ends_in_letter(recent[start - 1])):
                found += self._bare[before]
        return found

    def _encoded(self, before: str, texts: Iterable[str]) -> Iterator[list[int]]:
        """Yield the tokens of each text as they are after another text."""
        prefix = self._tokenizer(before, add_special_tokens=False)["input_ids"]
        for text in texts:
            ids = self._tokenizer(before + text, add_special_tokens=False)["input_ids"]
            own = ids[len(prefix) :]
            spelt = text.isascii() and len(own) >= len(text.strip()) < SPELT
            if own and ids[: len(prefix)] == prefix and not spelt | (self._tokenizer.unk_token_id in own):
                yield own

    def _ends_in_letter(self, token: int) -> bool:
        if token not in self._in_word:
            self._in_word[token] = str(self._tokenizer.decode([token]))[-1:].isalnum()
        return self._in_word[token]


def _words(language: str) -> list[str]:
    return [word for words in _LISTS[language].values() for word in words.split(" | ")]
