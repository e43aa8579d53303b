"""Is a concept set as varied as it must be for its vectors to mean the emotion rather than a template?

python -m emosteer.concepts.variety en
python -m emosteer.concepts.variety path/to/my-set.json
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations

from emosteer.concepts.conceptset import PARTS, ConceptSet, Texts
from emosteer.errors import EmosteerError

MAX_NGRAM_ITEMS = 3
MIN_FIRST_WORDS = 0.5
MAX_OVERLAP = 0.5
_WORD = re.compile(r"\w+(?:['’]\w+)?")

__all__ = ["Variety", "variety"]


@dataclass(frozen=True)
class Variety:
    """How varied a concept set is in one language.

    Args:
        items: Number of sentences, situations and neutral texts.
        ngram_items: In how many of them the most frequent 4-gram stands.
        first_words: Smallest share, over emotions, of texts that begin with a word of their own.
        overlap: Largest share of words (Jaccard) that two texts have in common.
        problems: What breaks a limit, in words.
    """

    items: int
    ngram_items: int
    first_words: float
    overlap: float
    problems: tuple[str, ...]


def variety(concepts: ConceptSet, language: str) -> Variety:
    """Measure a set: repeated 4-grams, first words, near-duplicates, and situations that give the emotion away.

    Args:
        concepts: The set.
        language: Which of its languages.

    Returns:
        The figures and the problems, none of which means that the set passes.
    """
    problems: list[str] = []
    items = dict(_items(concepts, language))
    words = {where: _words(text) for where, text in items.items()}

    places: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for where, tokens in words.items():
        for i in range(len(tokens) - 3):
            places[tuple(tokens[i : i + 4])].add(where)
    for gram, found in places.items():
        if len(found) > MAX_NGRAM_ITEMS:
            problems.append(f"{' '.join(gram)!r} stands in {len(found)} items: {', '.join(sorted(found))}")

    first_words = 1.0
    for name in (*concepts.emotions, "neutral"):
        firsts = Counter(tokens[0] for where, tokens in words.items() if where.startswith(f"{name}/") and tokens)
        share = len(firsts) / max(1, firsts.total())
        first_words = min(first_words, share)
        if share < MIN_FIRST_WORDS:
            problems.append(f"{name}: only {share:.2f} of the items begin with a word of their own")

    overlap = 0.0
    sets = {where: frozenset(tokens) for where, tokens in words.items()}
    for (a, left), (b, right) in combinations(sets.items(), 2):
        shared = len(left & right) / max(1, len(left | right))
        overlap = max(overlap, shared)
        if shared > MAX_OVERLAP:
            problems.append(f"{a} and {b} share {shared:.0%} of their words")

    problems.extend(_leaks(concepts, language))
    frequent = max((len(found) for found in places.values()), default=0)
    return Variety(len(items), frequent, first_words, overlap, tuple(problems))


def _items(concepts: ConceptSet, language: str) -> Iterator[tuple[str, str]]:
    for name in concepts.emotions:
        texts = concepts[name].texts[language]
        for part in ("sentences", "situations", "held_out_sentences", "held_out_situations"):
            for i, text in enumerate(getattr(texts, part)):
                yield f"{name}/{language}/{part}/{i}", text
    neutral = concepts.neutral[language]
    for i, text in enumerate((*neutral.sentences, *neutral.held_out)):
        yield f"neutral/{language}/{i}", text


def _leaks(concepts: ConceptSet, language: str) -> Iterator[str]:
    """Situations that contain the emotion's name, its word family, a word of its word list or a form of one."""
    for name in concepts.emotions:
        texts = concepts[name].texts[language]
        banned = {word.lower() for word in (name, *texts.word_family, *texts.words)}
        for part in ("situations", "held_out_situations"):
            for i, text in enumerate(getattr(texts, part)):
                for token in _words(text):
                    word = re.sub(r"['’]s$", "", token)
                    if word in banned or any(_inflects(word, stem) for stem in banned):
                        yield f"{name}/{language}/{part}/{i} says {token!r}: {text}"


def _inflects(word: str, stem: str) -> bool:
    # An English rule of thumb, strict enough for a check: 'jealously' from 'jealous', not 'angle' from 'anger'.
    return len(stem) > 4 and word.startswith(stem[: max(5, len(stem) - 2)]) and len(word) - len(stem) <= 4


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _counts(texts: Iterable[Texts], part: str) -> str:
    sizes = {len(getattr(t, part)) for t in texts}
    return f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


def main(source: str) -> int:
    """Print the figures of a set; 1 if it has problems."""
    concepts = ConceptSet.load(source)
    failed = False
    for language in concepts.languages:
        texts = [concepts[name].texts[language] for name in concepts.emotions]
        result = variety(concepts, language)
        failed |= bool(result.problems)
        counts = ", ".join(f"{_counts(texts, part)} {part}" for part in PARTS)
        held_out = f"{_counts(texts, 'held_out_sentences')} + {_counts(texts, 'held_out_situations')} held out"
        neutral = concepts.neutral[language]
        print(f"{concepts.name} [{language}]: {len(texts)} emotions, each {counts}, {held_out}")  # noqa: T201
        print(f"  neutral: {len(neutral.sentences)} + {len(neutral.held_out)} held out")  # noqa: T201
        print(  # noqa: T201
            f"  {result.items} items; most frequent 4-gram in {result.ngram_items} (limit {MAX_NGRAM_ITEMS}); "
            f"first words {result.first_words:.2f} (limit {MIN_FIRST_WORDS}); "
            f"largest overlap {result.overlap:.2f} (limit {MAX_OVERLAP}); problems {len(result.problems)}"
        )
        for problem in result.problems:
            print(f"  - {problem}")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "en"))
    except EmosteerError as error:
        sys.exit(str(error))
