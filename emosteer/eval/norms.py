"""Norms: human ratings of words and of emotion categories on valence and arousal, read from the user's files.

    load_norms("glasgow_norms.csv")
    load_norms("mine.csv", language="es", word="Palabra", valence="V", arousal="A", scale=(1, 7))
    parse_norms("mine.csv,language=es,word=Palabra,valence=V,arousal=A,scale=1:7")

Published files are recognised by their columns (`norm_formats.FORMATS`). Any other table can be read if its columns,
scale and language are given.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from emosteer._util.names import LANGUAGE
from emosteer.errors import InputError
from emosteer.eval.norm_formats import FORMATS, Format, Scale
from emosteer.eval.norm_tables import rows_of

FEWEST = 20  # words; a correlation with the ratings of fewer says nothing
NARROW = 0.25  # of the scale; mean ratings never lie this close together
OTHER_SCRIPT = 0.2  # of the words at most; loans such as "T恤" are in two scripts
UNRATED = {"", ".", "na", "nan"}
OPTIONS = ("language", "word", "valence", "arousal", "scale", "name")

SCRIPTS = {
    **dict.fromkeys(("de", "en", "es", "fr", "it", "pt"), ("LATIN",)),
    "ar": ("ARABIC",),
    "hi": ("DEVANAGARI",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ru": ("CYRILLIC",),
    "zh": ("CJK",),
}
"""Language → scripts of its words, as the Unicode names of letters begin. Words of other languages are not checked."""

__all__ = ["Norms", "load_category_norms", "load_norms", "parse_norms"]


@dataclass(frozen=True)
class Norms:
    """Human ratings of words in one language.

    Args:
        name: Name of the norms.
        language: Language code of the words.
        words: The words, each once.
        valence: Mean rating of each word, from −1 (unpleasant) to 1 (pleasant).
        arousal: Mean rating of each word, from −1 (still) to 1 (stirred up).
        license: Terms that the norms usually carry, in one sentence, or None.
        dropped: Number of rows left out: `duplicates` of a word, and `unrated` ones.
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
        """Return valence and arousal as `[n_words, 2]`."""
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

    Arguments take precedence over a known format. If all of them but `name` are given, known formats are not consulted.

    Args:
        path: A table with a header row, in UTF-8, separated by commas, tabs or semicolons. Its first line may name the
            separator, as `sep=;`.
        language: Language code of the words.
        word: Column of the words.
        valence: Column of the valence ratings.
        arousal: Column of the arousal ratings.
        scale: Lowest and highest possible rating, or two such pairs if valence and arousal have different scales.
        name: Name of the norms; by default that of the known format, or of the file.

    Returns:
        The ratings from −1 to 1, in the order of the file. Words are stripped and in Unicode's composed form (NFC).

    Raises:
        InputError: The file cannot be read or has no known format, a rating is not a number on the scale, the ratings
            are clearly on another scale, fewer than 20 words are rated, or the words are in another script than the
            language.
    """
    path = Path(path)
    if language is not None and not LANGUAGE.fullmatch(language):
        raise InputError(f"{language!r} is not the code of a language.", "Codes are en, zh, pt-BR and the like.")
    rows = rows_of(path)
    if _is_headless_nrc(rows[0][1]):
        rows.insert(0, (0, ["Word", "Valence", "Arousal", "Dominance"]))
    (_, header), *rows = rows
    options = {
        "language": language,
        "word": word,
        "valence": valence,
        "arousal": arousal,
        "scales": None if scale is None else _scales(scale),
        "name": name,
    }
    form = _format(path, header, {key: value for key, value in options.items() if value is not None})
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
        values = tuple(
            _rating(f"{path}, line {line}: the {axis} of {text[:40]!r}", cell, bounds)
            for axis, cell, bounds in zip(("valence", "arousal"), rated, form.scales, strict=True)
        )
        if text in ratings:
            dropped["duplicates"] += 1
        else:
            ratings[text] = values
    if len(ratings) < FEWEST:
        raise InputError(
            f"{path} has {len(ratings)} rated words, at least {FEWEST} are needed.",
            f"Left out were {dropped['unrated']} rows without a rating and {dropped['duplicates']} duplicates.",
        )
    axes = list(zip(*ratings.values(), strict=True))
    _check_scales(path, form, axes)
    _check_script(path, form.language, list(ratings))
    pleasant, stirred = (_rescaled(*axis) for axis in zip(axes, form.scales, strict=True))
    return Norms(form.name, form.language, tuple(ratings), pleasant, stirred, form.license, dropped)


def parse_norms(text: str) -> Norms:
    """Read ratings of words as named on a command line: a file and options of `load_norms`, separated by commas.

    Args:
        text: `ratings.csv`, or `ratings.csv,word=Term,valence=V,arousal=A,scale=1:7,language=es,name=My ratings`. If
            valence and arousal have different scales, `scale=-3:3/1:9`.

    Raises:
        InputError: As for `load_norms`, or the options cannot be read.
    """
    path, *entries = re.split(r",(?=\w+=)", text)
    options: dict[str, Any] = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        if key not in OPTIONS or key in options or not value:
            reason = "is not known" if key not in OPTIONS else "stands twice" if key in options else "has no value"
            raise InputError(f"The option {key}= of {path!r} {reason}.", f"Options are {'=, '.join(OPTIONS)}=.")
        options[key] = value
    if "scale" in options:
        try:
            scales = tuple(tuple(map(float, part.split(":"))) for part in options["scale"].split("/"))
        except ValueError:
            raise _scale_error(options["scale"]) from None
        options["scale"] = scales if len(scales) > 1 else scales[0]
    return load_norms(path, **options)


def load_category_norms(path: str | Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Read ratings of emotion categories, from one or more sets of norms.

    Args:
        path: A table as for `load_norms`, with a column `category` and for each set two columns `<set>_v` and
            `<set>_a`: valence and arousal from −1 to 1.

    Returns:
        Set → category → valence and arousal. A set leaves out categories that it does not rate on both.

    Raises:
        InputError: The file cannot be read, lacks these columns, or has other content than such ratings.
    """
    path = Path(path)
    (_, header), *rows = rows_of(path)
    name_column = _column(path, header, "category")
    names = [column.removesuffix("_v") for column in header if column.endswith("_v")]
    columns = {name: [_column(path, header, f"{name}_{axis}") for axis in "va"] for name in names}
    norms: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in names}
    seen: set[str] = set()
    for line, cells in rows:
        category = cells[name_column]
        if not category or category in seen:
            raise InputError(
                f"{path}, line {line}: the category {category[:40]!r} {'stands twice' if category else 'has no name'}."
            )
        seen.add(category)
        for name, pair in columns.items():
            if any(cells[column].casefold() in UNRATED for column in pair):
                continue
            valence, arousal = (
                _rating(f"{path}, line {line}: {header[column]} of {category[:40]!r}", cells[column], (-1, 1))
                for column in pair
            )
            norms[name][category] = (valence, arousal)
    if not any(norms.values()):
        raise InputError(
            f"{path} rates no category. Its columns: {_quoted(header)}.",
            "A set of norms has two columns, such as glasgow_v and glasgow_a.",
        )
    return norms


def _is_headless_nrc(cells: Sequence[str]) -> bool:
    """Return whether a first row is a word and three numbers from 0 to 1: copies of NRC-VAD 1 have no header."""
    return len(cells) == 4 and all(re.fullmatch(r"[01]|[01]?\.\d+", cell) for cell in cells[1:])


def _format(path: Path, header: Sequence[str], options: Mapping[str, Any]) -> Format:
    """Return the known format, updated by the options, or a format made of the options alone."""
    missing = [key for key in ("language", "word", "valence", "arousal", "scales") if key not in options]
    known = next((known for known in FORMATS if missing and known.fits(header)), None)
    if known is None:
        if missing:
            raise InputError(
                f"{path} has the columns of no known norms: {_quoted(header)}. "
                f"Not given: {', '.join(missing).replace('scales', 'scale')}.",
                "Give them as in language=en, word=Word, valence=V, arousal=A, scale=1:9 (in Python scale=(1, 9)).",
            )
        return Format(**{"name": path.stem, **options})
    language = options.get("language", known.language)
    if _primary(language) != _primary(known.language):
        raise InputError(
            f"{path} has the columns of {known.name}, whose language is {known.language!r}, not {language!r}.",
            "Leave the language out; or, if these are other norms, give word, valence, arousal and scale too.",
        )
    return replace(known, **options)


def _column(path: Path, header: Sequence[str], name: str) -> int:
    places = [i for i, column in enumerate(header) if column.casefold() == name.strip().casefold()]
    if len(places) != 1:
        raise InputError(
            f"{path} has {'two columns' if places else 'no column'} {name!r}. Its columns: {_quoted(header)}."
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
    """Refuse ratings that fill a part of their scale which real ratings never keep to."""
    one_sided = []
    for column, ratings, (low, high) in zip((form.valence, form.arousal), axes, form.scales, strict=True):
        lowest, highest, middle = min(ratings), max(ratings), (low + high) / 2
        where = f"all ratings in {column!r} lie from {lowest:g} to {highest:g}, the scale is {low:g} to {high:g}"
        if highest - lowest < NARROW * (high - low):
            raise InputError(f"{path}: {where}.", "Give the scale on which they were rated, or another column.")
        one_sided.append(where if highest <= middle or lowest >= middle else None)
    if all(one_sided):  # a list of words may keep to one half of valence or of arousal, not of both
        raise InputError(f"{path}: {', and '.join(filter(None, one_sided))}.", "Give the scale of the ratings.")


def _check_script(path: Path, language: str, words: Sequence[str]) -> None:
    """Refuse words that are not written in the script of their language."""
    scripts = SCRIPTS.get(_primary(language), ("",))

    def fits(word: str) -> bool:
        letters = [character for character in word if character.isalpha()]
        return bool(letters) and all(unicodedata.name(letter, "").startswith(scripts) for letter in letters)

    strange = [word for word in words if not fits(word)]
    if len(strange) > OTHER_SCRIPT * len(words):
        raise InputError(
            f"{path}: {len(strange)} of {len(words)} words are not in the script of {language!r}, "
            f"such as {', '.join(map(repr, strange[:3]))}.",
            "Give the language and the column of the words.",
        )


def _primary(language: str) -> str:
    return language.partition("-")[0]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names[:30]) + (", …" if len(names) > 30 else "")
