"""Formats of published norms, recognised by their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Scale = tuple[float, float]
"""Lowest and highest possible rating."""

ONE_TO_NINE = ((1.0, 9.0), (1.0, 9.0))

__all__ = ["FORMATS", "Format", "Scale"]


@dataclass(frozen=True)
class Format:
    """A format in which norms are published.

    Args:
        name: Name of the norms.
        language: Language code of the words.
        word: Column of the words.
        valence: Column of the mean valence ratings.
        arousal: Column of the mean arousal ratings.
        scales: Scales of valence and of arousal.
        license: Terms that the norms usually carry, in one sentence.
        beside: Further columns that distinguish it from other formats.
        subheader: Text under `valence` in a second header row, if there may be one.
    """

    name: str
    language: str
    word: str
    valence: str
    arousal: str
    scales: tuple[Scale, Scale] = ONE_TO_NINE
    license: str | None = None
    beside: tuple[str, ...] = ()
    subheader: str | None = None

    def fits(self, header: Sequence[str]) -> bool:
        """Return whether a file with these columns, in upper or lower case, can have this format."""
        needed = (self.word, self.valence, self.arousal, *self.beside)
        return {column.casefold() for column in needed} <= {column.casefold() for column in header}


_GLASGOW = "CC BY 4.0 (Scott et al. 2019, doi 10.3758/s13428-018-1099-3)."
_WARRINER = "CC BY-NC-ND 3.0 (Warriner, Kuperman & Brysbaert 2013, doi 10.3758/s13428-012-0314-x)."
_NRC = "Own terms of the National Research Council Canada: free for research, not to be redistributed."
_ANEW = "On request from its authors (Bradley & Lang), for research only."
_CVAW = "For research only (Yu et al. 2016, Chinese valence-arousal words)."
_NORARE = "Mostly CC BY-NC 4.0: the terms are those of the data set that NoRaRe took it from."

# Norms of these languages in NoRaRe are rated from 1 to 9; those of German, Dutch, Polish and others on several scales.
_NORARE_LANGUAGES = {
    "CHINESE": "zh",
    "ENGLISH": "en",
    "FRENCH": "fr",
    "ITALIAN": "it",
    "PORTUGUESE": "pt",
    "SPANISH": "es",
}

FORMATS = (
    Format("Glasgow Norms", "en", "Word", "Valence", "Arousal", license=_GLASGOW, beside=("Dominance", "Concreteness")),
    Format("Glasgow Norms", "en", "Words", "VAL", "AROU", license=_GLASGOW, subheader="M"),
    Format("Warriner et al. 2013", "en", "Word", "V.Mean.Sum", "A.Mean.Sum", license=_WARRINER),
    Format("NRC-VAD 1", "en", "Word", "Valence", "Arousal", ((0, 1), (0, 1)), _NRC, ("Dominance",)),
    Format("NRC-VAD 2", "en", "term", "valence", "arousal", ((-1, 1), (-1, 1)), _NRC, ("dominance",)),
    *(
        Format("ANEW", "en", word, *means, license=_ANEW)
        for word in ("Description", "Word")
        for means in (("Valence Mean", "Arousal Mean"), ("ValMn", "AroMn"))
    ),
    Format("CVAW", "zh", "Word", "Valence_Mean", "Arousal_Mean", license=_CVAW),
    Format(
        "Schmidtke et al. 2014 (NoRaRe)",
        "de",
        "GERMAN",
        "GERMAN_VALENCE_MEAN",
        "GERMAN_AROUSAL_MEAN_ANEW",
        ((-3, 3), (1, 9)),
        _NORARE,
    ),
    *(
        Format(f"NoRaRe, {word.title()}", code, word, f"{word}_VALENCE_MEAN", f"{word}_AROUSAL_MEAN", license=_NORARE)
        for word, code in _NORARE_LANGUAGES.items()
    ),
)
"""Known formats. A file is read by the first one whose columns it has."""
