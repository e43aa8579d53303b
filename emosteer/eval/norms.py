"""Norms: how people rate words, and categories of emotion, on valence and arousal; read from files that the user has.

    load_norms("glasgow_norms.csv")
    load_norms("mine.csv", language="es", word="Palabra", valence="V", arousal="A", scale=(1, 7))
    parse_norms("mine.csv,language=es,word=Palabra,valence=V,arousal=A,scale=1:7")

Published files are known by their columns (`FORMATS`). Any other table can be read whose columns, scale and language
are given.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util.names import LANGUAGE
from emosteer.concepts import ConceptSet
from emosteer.concepts.conceptset import built_in
from emosteer.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Scale = tuple[float, float]
"""The lowest and the highest rating that could be given."""

Row = tuple[int, list[str]]
"""Number of the line and its cells."""

ONE_TO_NINE = ((1.0, 9.0), (1.0, 9.0))
FEWEST = 20  # words, below which a correlation with ratings says nothing
NARROW = 0.25  # of the scale: means over people never lie this close together
OTHER_SCRIPT = 0.2  # of the words at most: loans such as "T恤" are in two scripts
TELLING = 10  # words of another language's concept set, fewer of which are loans and names
UNRATED = {"", ".", "na", "nan"}
OPTIONS = ("language", "word", "valence", "arousal", "scale", "name")

SCRIPTS = {
    "ARABIC": "ar fa ur",
    "BENGALI": "bn",
    "CJK": "ja zh",
    "CYRILLIC": "be bg kk mk ru sr uk",
    "DEVANAGARI": "hi mr ne",
    "GREEK": "el",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "LATIN": "sr",
    "TAMIL": "ta",
    "THAI": "th",
}
"""As the Unicode names of its letters begin → the languages written in it; all others are written in Latin letters."""

__all__ = ["FORMATS", "Format", "Norms", "load_category_norms", "load_norms", "parse_norms"]


@dataclass(frozen=True)
class Format:
    """A form in which norms are published, known by its columns.

    Args:
        name: Of the norms.
        language: Code of the language of the words.
        word: Column of the words.
        valence: Column of the mean ratings of valence.
        arousal: Column of the mean ratings of arousal.
        scales: Of valence and of arousal.
        license: What the norms usually carry, in one sentence.
        beside: Further columns, which tell it from other formats.
        subheader: What stands under `valence` in a second header row, if there may be one.
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
        """Whether a file with these columns, in capital or small letters, can be of this form."""
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
"""Forms of published norms; a file is read by the first one whose columns it has."""


@dataclass(frozen=True)
class Norms:
    """Human ratings of words in one language.

    Args:
        name: Of the norms.
        language: Code of the language of the words.
        words: The words, each once.
        valence: Mean rating of each word, from −1 (unpleasant) to 1 (pleasant).
        arousal: Mean rating of each word, from −1 (still) to 1 (stirred up).
        license: What the norms usually carry, in one sentence, or None.
        dropped: How many rows were left out: `duplicates` of a word, and `unrated` ones.
    """

    name: str
    language: str
    words: tuple[str, ...]
    valence: tuple[float, ...]
    arousal: tuple[float, ...]
    license: str | None = None
    dropped: Mapping[str, int] = field(default_factory=lambda: {"duplicates": 0, "unrated": 0})

    def __len__(self) -> int:
        return len(self.words)

    def axes(self) -> np.ndarray:
        """Valence and arousal as `[n_words, 2]`."""
        import numpy as np

        return np.column_stack([self.valence, self.arousal])


def load_norms(
    path: str | Path,
    *,
    language: str | None = None,
    word: str | None = None,
    valence: str | None = None,
    arousal: str | None = None,
    scale: Scale | tuple[Scale, Scale] | None = None,
    name: str | None = None,
) -> Norms:
    """Read ratings of words.

    What is given stands above what a known format says. Where all but the name is given, the file is read as told and
    not looked up among `FORMATS`.

    Args:
        path: A table with a header row, in UTF-8, with commas, tabs or semicolons.
        language: Code of the language of the words.
        word: Column of the words.
        valence: Column of the ratings of valence.
        arousal: Column of the ratings of arousal.
        scale: The lowest and the highest rating that could be given, or two such pairs if those of valence and of
            arousal differ.
        name: Of the norms; by default that of the known format, or of the file.

    Returns:
        The ratings on −1…1, in the order of the file. Words are stripped and in Unicode's composed form (NFC).

    Raises:
        InputError: The file cannot be read or is in no known format, a rating is not a number or not on the scale, the
            ratings are surely on another scale, fewer than 20 words are rated, or the words are in another language.
    """
    path = Path(path)
    if language is not None and not LANGUAGE.fullmatch(language):
        raise InputError(f"{language!r} is not the code of a language.", "Codes are en, zh, pt-BR and the like.")
    rows = _rows(path)
    if _is_headless_nrc(rows[0][1]):
        rows.insert(0, (0, ["Word", "Valence", "Arousal", "Dominance"]))
    (_, header), *rows = rows
    given = {
        "language": language,
        "word": word,
        "valence": valence,
        "arousal": arousal,
        "scales": None if scale is None else _scales(scale),
        "name": name,
    }
    form = _format(path, header, {key: value for key, value in given.items() if value is not None})

    columns = [_column(path, header, column) for column in (form.word, form.valence, form.arousal)]
    if form.subheader and rows[0][1][columns[1]] == form.subheader:
        del rows[0]
    ratings: dict[str, tuple[float, ...]] = {}
    dropped = {"duplicates": 0, "unrated": 0}
    for line, cells in rows:
        text, *rated = (cells[column] for column in columns)
        text = unicodedata.normalize("NFC", text)
        if not text or any(cell.casefold() in UNRATED for cell in rated):
            dropped["unrated"] += 1
            continue
        found = tuple(
            _rating(f"{path}, line {line}: the {axis} of {text[:40]!r}", cell, bounds)
            for axis, cell, bounds in zip(("valence", "arousal"), rated, form.scales, strict=True)
        )
        if text in ratings:
            dropped["duplicates"] += 1
        else:
            ratings[text] = found
    if len(ratings) < FEWEST:
        raise InputError(
            f"{path} has {len(ratings)} rated words, at least {FEWEST} are needed.",
            f"Left out were {dropped['unrated']} rows without a rating and {dropped['duplicates']} duplicates.",
        )
    rated_on = list(zip(*ratings.values(), strict=True))
    _check_scales(path, form, rated_on)
    _check_language(path, form.language, list(ratings))
    pleasant, stirred = (_rescaled(*axis) for axis in zip(rated_on, form.scales, strict=True))
    return Norms(form.name, form.language, tuple(ratings), pleasant, stirred, form.license, dropped)


def parse_norms(text: str) -> Norms:
    """Read ratings of words as a command line names them: a file, then options of `load_norms`, with commas between.

    Args:
        text: `ratings.csv`, or `ratings.csv,word=Term,valence=V,arousal=A,scale=1:7,language=es,name=My ratings`; where
            the scales of valence and of arousal differ, `scale=-3:3/1:9`.

    Raises:
        InputError: As for `load_norms`, or the options cannot be read.
    """
    path, *options = re.split(r",(?=\w+=)", text)
    given: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        if key not in OPTIONS or key in given or not value:
            reason = "is not known" if key not in OPTIONS else "stands twice" if key in given else "has no value"
            raise InputError(f"The option {key}= of {path!r} {reason}.", f"Options are {'=, '.join(OPTIONS)}=.")
        given[key] = value
    if "scale" in given:
        try:
            scales = tuple(tuple(map(float, part.split(":"))) for part in given["scale"].split("/"))
        except ValueError:
            raise _scale_error(given["scale"]) from None
        given["scale"] = scales if len(scales) > 1 else scales[0]
    return load_norms(path, **given)


def load_category_norms(path: str | Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Read ratings of categories of emotion, from one or more sets of norms.

    Args:
        path: A table as for `load_norms`, with a column `category` and for each set two columns `<set>_v` and
            `<set>_a`, valence and arousal on −1…1.

    Returns:
        Set → category → valence and arousal. A category that a set does not rate on both is not in it.

    Raises:
        InputError: The file cannot be read, lacks these columns, or holds something else than such ratings.
    """
    path = Path(path)
    (_, header), *rows = _rows(path)
    names = _column(path, header, "category")
    sets = [column.removesuffix("_v") for column in header if column.endswith("_v")]
    pairs = {name: [_column(path, header, f"{name}_{axis}") for axis in "va"] for name in sets}
    norms: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in pairs}
    seen: set[str] = set()
    for line, cells in rows:
        category = cells[names]
        if not category or category in seen:
            raise InputError(
                f"{path}, line {line}: the category {category[:40]!r} {'stands twice' if category else 'has no name'}."
            )
        seen.add(category)
        for name, columns in pairs.items():
            if any(cells[column].casefold() in UNRATED for column in columns):
                continue
            valence, arousal = (
                _rating(f"{path}, line {line}: {header[column]} of {category[:40]!r}", cells[column], (-1, 1))
                for column in columns
            )
            norms[name][category] = (valence, arousal)
    if not any(norms.values()):
        raise InputError(
            f"{path} rates no category. Its columns: {_listed(header)}.",
            "A set of norms has two columns, such as glasgow_v and glasgow_a.",
        )
    return norms


def _rows(path: Path) -> list[Row]:
    """The header and at least one further row, all of the header's length; blank lines are left out."""
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",\t;", key=first.count), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: this is not a table of commas, tabs or semicolons ({error}).",
            'A cell that begins with " needs one at its end.',
        ) from None
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if len(rows) < 2:
        raise InputError(
            f"{path} {'has a header and nothing more' if rows else 'is empty'}.",
            "A header row is expected, and a row for each word.",
        )
    width = len(rows[0][1])
    for line, cells in rows:
        if any(cells[width:]):
            raise InputError(
                f"{path}, line {line}: there are {len(cells)} cells, the header has {width}.",
                'A cell with a comma in it needs " on both sides.',
            )
        cells.extend([""] * (width - len(cells)))
    return rows


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"The norms {str(path)!r} cannot be read: {reason}.", "Give the path of a CSV file."
        ) from error
    wrong = data.find(b"\0")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        line = data.count(b"\n", 0, wrong) + 1
        raise InputError(
            f"{path}, line {line}: this is not text in UTF-8.",
            "Save a spreadsheet, or text in another encoding, as CSV in UTF-8.",
        )
    return text


def _is_headless_nrc(cells: Sequence[str]) -> bool:
    """Whether a first row is a word and three numbers from 0 to 1: copies of NRC-VAD 1 have no header."""
    return len(cells) == 4 and all(re.fullmatch(r"[01]|[01]?\.\d+", cell) for cell in cells[1:])


def _format(path: Path, header: Sequence[str], given: Mapping[str, Any]) -> Format:
    """The known format with what was given in its place, or one made of what was given alone."""
    missing = [key for key in ("language", "word", "valence", "arousal", "scales") if key not in given]
    known = next((known for known in FORMATS if missing and known.fits(header)), None)
    if known is None:
        if missing:
            raise InputError(
                f"{path} has the columns of no known norms: {_listed(header)}. "
                f"Not given: {', '.join(missing).replace('scales', 'scale')}.",
                "Say as in language=en, word=Word, valence=V, arousal=A, scale=1:9 (in Python scale=(1, 9)).",
            )
        return Format(**{"name": path.stem, **given})
    language = given.get("language", known.language)
    if _primary(language) != _primary(known.language):
        raise InputError(
            f"{path} has the columns of {known.name}, whose language is {known.language!r}, not {language!r}.",
            "Leave the language out; or, if these are other norms, give word, valence, arousal and scale too.",
        )
    return replace(known, **given)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    places = [i for i, column in enumerate(header) if column.casefold() == name.strip().casefold()]
    if len(places) != 1:
        raise InputError(
            f"{path} has {'two columns' if places else 'no column'} {name!r}. Its columns: {_listed(header)}."
        )
    return places[0]


def _scales(scale: Any) -> tuple[Scale, Scale]:
    try:
        valence, arousal = scale if isinstance(scale[0], Sequence) else (scale, scale)
        (v_low, v_high), (a_low, a_high) = (map(float, bounds) for bounds in (valence, arousal))
    except (TypeError, ValueError, IndexError):
        raise _scale_error(scale) from None
    if not (-math.inf < v_low < v_high < math.inf and -math.inf < a_low < a_high < math.inf):
        raise _scale_error(scale)
    return (v_low, v_high), (a_low, a_high)


def _scale_error(scale: object) -> InputError:
    return InputError(
        f"{scale!r} is not a scale.",
        "It is the lowest and the highest rating, 1:9 (in Python (1, 9)), or that of valence and that of arousal, "
        "-3:3/1:9 (in Python ((-3, 3), (1, 9))).",
    )


def _rating(what: str, cell: str, scale: Scale) -> float:
    try:
        rating = float(cell)
    except ValueError:
        raise InputError(f"{what} is {cell[:40]!r}, not a number.", "Numbers have a point, as in 5.25.") from None
    low, high = scale
    if not low <= rating <= high:
        raise InputError(
            f"{what} is {cell}, which is not on the scale from {low:g} to {high:g}.",
            "Correct the line; or if it was rated on another scale, give that scale.",
        )
    return rating


def _rescaled(ratings: Sequence[float], scale: Scale) -> tuple[float, ...]:
    low, high = scale
    return tuple((2 * rating - low - high) / (high - low) for rating in ratings)


def _check_scales(path: Path, form: Format, axes: Sequence[Sequence[float]]) -> None:
    """Refuse ratings that lie on a part of their scale where no such ratings lie."""
    one_sided = []
    for column, ratings, (low, high) in zip((form.valence, form.arousal), axes, form.scales, strict=True):
        lowest, highest, middle = min(ratings), max(ratings), (low + high) / 2
        where = f"all ratings in {column!r} lie from {lowest:g} to {highest:g}, the scale is {low:g} to {high:g}"
        if highest - lowest < NARROW * (high - low):
            raise InputError(f"{path}: {where}.", "Give the scale on which they were rated, or another column.")
        one_sided.append(where if highest <= middle or lowest >= middle else None)
    if all(one_sided):  # of valence or arousal alone a list of words may have one half only
        raise InputError(f"{path}: {', and '.join(filter(None, one_sided))}.", "Give the scale of the ratings.")


def _check_language(path: Path, language: str, words: Sequence[str]) -> None:
    own = _primary(language)
    scripts = tuple(script for script, languages in SCRIPTS.items() if own in languages.split()) or ("LATIN",)
    strange = [word for word in words if not _is_written_in(word, scripts)]
    if len(strange) > OTHER_SCRIPT * len(words):
        raise InputError(
            f"{path}: {len(strange)} of {len(words)} words are not in the script of {language!r}, "
            f"such as {', '.join(map(repr, strange[:3]))}.",
            "Give the language and the column of the words.",
        )
    present = {word.casefold() for word in words}
    found = {code: len(present & known) for code, known in _concept_words().items()}
    likely = max(found, key=lambda code: found[code])
    if own in found and found[likely] >= TELLING and found[likely] > 2 * found[own]:
        raise InputError(
            f"{path} is said to be in {language!r}, but has {found[likely]} words of the {likely!r} concept set, "
            f"and {found[own]} of the {own!r} one.",
            f"Give language={likely}, or norms in {language!r}.",
        )


def _is_written_in(word: str, scripts: tuple[str, ...]) -> bool:
    letters = [character for character in word if character.isalpha()]
    return bool(letters) and all(unicodedata.name(letter, "").startswith(scripts) for letter in letters)


def _concept_words() -> dict[str, set[str]]:
    """Language → the words of its built-in concept set, in small letters."""
    words: dict[str, set[str]] = {}
    for code in built_in():
        for emotion in ConceptSet.load(code).concepts.values():
            for language, texts in emotion.texts.items():
                words.setdefault(_primary(language), set()).update(text.casefold() for text in texts.words)
    return words


def _primary(language: str) -> str:
    return language.partition("-")[0]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:30]) + (", …" if len(names) > 30 else "")
