"""What a concept set consists of: emotions with their texts per language, and neutral texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PARTS = ("words", "sentences", "situations")

__all__ = ["PARTS", "Emotion", "Neutral", "Texts"]


@dataclass(frozen=True)
class Texts:
    """The texts of one emotion in one language.

    Args:
        words: Single words that people associate with the emotion.
        sentences: First-person sentences that name it.
        situations: Situations and utterances that never name it.
        word_family: Every form of the emotion's name; no situation contains one.
        held_out_sentences: Like `sentences`, never used to build vectors.
        held_out_situations: Like `situations`, never used to build vectors.
    """

    words: tuple[str, ...]
    sentences: tuple[str, ...]
    situations: tuple[str, ...]
    word_family: tuple[str, ...] = ()
    held_out_sentences: tuple[str, ...] = ()
    held_out_situations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Neutral:
    """Texts without emotion in one language, against which emotions are contrasted.

    Args:
        sentences: Used to build vectors.
        held_out: Never used to build vectors.
        frames: Short sentences with `{}` for a single word. A bare word would be the first token, the attention sink.
    """

    sentences: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    frames: tuple[str, ...] = ('"{}"',)


@dataclass(frozen=True)
class Emotion:
    """One emotion: its texts, its labels, and its human ratings.

    Args:
        name: Lower-case ASCII name, by which tones name it.
        texts: Language code → texts.
        labels: Language code → the word for it in that language.
        valence: Human rating from −1 (unpleasant) to 1 (pleasant), or None.
        arousal: Human rating from −1 (calm) to 1 (excited), or None.
        source: Where the ratings come from, or None.
    """

    name: str
    texts: Mapping[str, Texts]
    labels: Mapping[str, str] = field(default_factory=dict)
    valence: float | None = None
    arousal: float | None = None
    source: str | None = None
