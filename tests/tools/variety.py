"""Checks that the texts of a concept set are varied, so that vectors represent the emotion and not a template.

python -m tests.tools.variety                           every built-in set
python -m tests.tools.variety en path/to/my-set.json    only these
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean

from emosteer.concepts.conceptset import PARTS, ConceptSet, Texts, built_in
from emosteer.errors import EmosteerError
from tests.tools.writing import Writing, writing

NGRAM = 4  # words
CHARACTER_NGRAM = 8  # characters, where words are not parted: about as long
MAX_NGRAM_ITEMS = 3
MIN_FIRST_WORDS = 0.5
MAX_OVERLAP = 0.5
MAX_CHARACTER_OVERLAP = 0.6  # characters are shared more easily than words
MAX_LENGTH_RATIO = 1.5
MIN_OWN_LETTERS = 0.9

__all__ = ["Variety", "variety"]


@dataclass(frozen=True)
class Variety:
    """Variety of a concept set in one language. In languages without spaces, words are one or two characters.

    Args:
        items: Number of sentences, situations and neutral texts.
        ngram_items: Number of texts that contain the most frequent n-gram.
        first_words: Smallest share, over emotions, of distinct first words among the texts.
        overlap: Largest share of words (Jaccard) that two texts have in common.
        length_ratio: Largest ratio between the mean length of an emotion's texts and the mean over emotions.
        own_letters: Smallest share, over texts, of letters in the scripts of the language.
        problems: The limits that are broken, in words.
    """

    items: int
    ngram_items: int
    first_words: float
    overlap: float
    length_ratio: float
    own_letters: float
    problems: tuple[str, ...]


def variety(concepts: ConceptSet, language: str) -> Variety:
    """Measure the variety of a concept set.

    Problems are repeated n-grams and first words, duplicates and near-duplicates, emotions whose texts are longer or
    shorter than the others', letters of another script, sentences that do not name their emotion, and situations that
    name it.

    Args:
        concepts: The set.
        language: Code of one of its languages.

    Returns:
        The figures and the problems. The set passes if there are no problems.
    """
    style = writing(language)
    items = dict(_items(concepts, language))
    tokens = {where: style.tokens(text) for where, text in items.items()}
    problems: list[str] = []
    return Variety(
        len(items),
        _ngram_items(tokens, style, problems),
        _first_words(tokens, style, problems),
        _overlap(tokens, style, problems),
        _length_ratio(items, problems),
        _own_letters({**items, **dict(_words(concepts, language))}, style, problems),
        (*problems, *_unnamed(concepts, language, style), *_leaks(concepts, language, style)),
    )


def _items(concepts: ConceptSet, language: str) -> Iterator[tuple[str, str]]:
    for name in concepts.emotions:
        texts = concepts[name].texts[language]
        for part in ("sentences", "situations", "held_out_sentences", "held_out_situations"):
            for i, text in enumerate(getattr(texts, part)):
                yield f"{name}/{language}/{part}/{i}", text
    neutral = concepts.neutral[language]
    for i, text in enumerate((*neutral.sentences, *neutral.held_out)):
        yield f"neutral/{language}/{i}", text


def _words(concepts: ConceptSet, language: str) -> Iterator[tuple[str, str]]:
    for name in concepts.emotions:
        for part in ("word_family", "words"):
            for i, word in enumerate(getattr(concepts[name].texts[language], part)):
                yield f"{name}/{language}/{part}/{i}", word


def _ngram_items(tokens: Mapping[str, Sequence[str]], style: Writing, problems: list[str]) -> int:
    n = NGRAM if style.spaced else CHARACTER_NGRAM
    places: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for where, words in tokens.items():
        for i in range(len(words) - n + 1):
            places[tuple(words[i : i + n])].add(where)
    for gram, among in places.items():
        if len(among) > MAX_NGRAM_ITEMS:
            shown = style.joined(gram)
            problems.append(f"{shown!r} stands in {len(among)} items: {', '.join(sorted(among))}")
    return max(map(len, places.values()), default=0)


def _first_words(tokens: Mapping[str, Sequence[str]], style: Writing, problems: list[str]) -> float:
    firsts: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for where, words in tokens.items():
        if words:
            firsts[where.split("/")[0]][tuple(words[: 1 if style.spaced else 2])] += 1
    shares = {name: len(counts) / counts.total() for name, counts in firsts.items()}
    for name, share in shares.items():
        if share < MIN_FIRST_WORDS:
            problems.append(f"{name}: only {share:.2f} of the items begin with a word of their own")
    return min(shares.values(), default=1.0)


def _overlap(tokens: Mapping[str, Sequence[str]], style: Writing, problems: list[str]) -> float:
    limit = MAX_OVERLAP if style.spaced else MAX_CHARACTER_OVERLAP
    largest = 0.0
    sets = {where: frozenset(words) for where, words in tokens.items()}
    for (a, left), (b, right) in combinations(sets.items(), 2):
        both = len(left & right)
        shared = both / max(1, len(left) + len(right) - both)
        largest = max(largest, shared)
        if shared > limit:
            problems.append(f"{a} and {b} share {shared:.0%} of their words")
    return largest


def _length_ratio(items: Mapping[str, str], problems: list[str]) -> float:
    """Compare sentences and situations separately, since situations are longer. Neutral texts count as situations."""
    furthest = 1.0
    for part in ("sentences", "situations"):
        lengths: defaultdict[str, list[int]] = defaultdict(list)
        for where, text in items.items():
            if where.split("/")[-2].endswith(part) or (part == "situations" and where.startswith("neutral/")):
                lengths[where.split("/")[0]].append(len(text))
        means = {name: mean(counts) for name, counts in lengths.items()}
        usual = mean(means.values())
        for name, length in means.items():
            furthest = max(furthest, length / usual, usual / length)
            if max(length / usual, usual / length) > MAX_LENGTH_RATIO:
                problems.append(
                    f"{name}: {part} have {length:.0f} characters on average, those of all have {usual:.0f}"
                )
    return furthest


def _own_letters(texts: Mapping[str, str], style: Writing, problems: list[str]) -> float:
    shares = {where: style.own_letters(text) for where, text in texts.items()}
    for where, share in shares.items():
        if share < MIN_OWN_LETTERS:
            problems.append(f"{where}: only {share:.0%} of the letters are of the language: {texts[where]}")
    return min(shares.values(), default=1.0)


def _unnamed(concepts: ConceptSet, language: str, style: Writing) -> Iterator[str]:
    """Yield sentences without a form of the emotion's name, if the set lists the forms."""
    for name in concepts.emotions:
        texts = concepts[name].texts[language]
        forms = [style.tokens(form) for form in texts.word_family]
        for part in ("sentences", "held_out_sentences"):
            for i, text in enumerate(getattr(texts, part)):
                if forms and not style.mentions(style.tokens(text), forms):
                    yield f"{name}/{language}/{part}/{i} does not name the emotion: {text}"


def _leaks(concepts: ConceptSet, language: str, style: Writing) -> Iterator[str]:
    """Yield situations that contain the emotion's name, a form of it, or one of its words."""
    for name in concepts.emotions:
        texts = concepts[name].texts[language]
        banned = [style.tokens(word) for word in sorted({name, *texts.word_family, *texts.words})]
        for part in ("situations", "held_out_situations"):
            for i, text in enumerate(getattr(texts, part)):
                for mention in style.mentions(style.tokens(text), banned):
                    yield f"{name}/{language}/{part}/{i} says {mention!r}: {text}"


def _counts(texts: Iterable[Texts], part: str) -> str:
    sizes = {len(getattr(t, part)) for t in texts}
    return f"{min(sizes)}" if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


def main(sources: Sequence[str]) -> int:
    """Print the figures of concept sets, by default of all built-in ones. Return 1 if one has problems."""
    failed = False
    for source in sources or built_in():
        concepts = ConceptSet.load(source)
        for language in concepts.languages:
            texts = [concepts[name].texts[language] for name in concepts.emotions]
            spaced = writing(language).spaced
            result = variety(concepts, language)
            failed |= bool(result.problems)
            counts = ", ".join(f"{_counts(texts, part)} {part}" for part in PARTS)
            held_out = f"{_counts(texts, 'held_out_sentences')} + {_counts(texts, 'held_out_situations')} held out"
            neutral = concepts.neutral[language]
            print(f"{concepts.name} [{language}]: {len(texts)} emotions, each {counts}, {held_out}")
            print(f"  neutral: {len(neutral.sentences)} + {len(neutral.held_out)} held out")
            gram = f"{NGRAM}-gram" if spaced else f"{CHARACTER_NGRAM} characters"
            print(
                f"  {result.items} items; most frequent {gram} in {result.ngram_items} (limit {MAX_NGRAM_ITEMS}); "
                f"first words {result.first_words:.2f} (limit {MIN_FIRST_WORDS}); largest overlap "
                f"{result.overlap:.2f} (limit {MAX_OVERLAP if spaced else MAX_CHARACTER_OVERLAP}); lengths within "
                f"{result.length_ratio:.2f} times (limit {MAX_LENGTH_RATIO}); own letters {result.own_letters:.2f} "
                f"(limit {MIN_OWN_LETTERS}); problems {len(result.problems)}"
            )
            for problem in result.problems:
                print(f"  - {problem}")
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except EmosteerError as error:
        sys.exit(str(error))
