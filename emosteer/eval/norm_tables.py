"""Tables of text, as spreadsheets and people write them: their rows, whatever separates the cells."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path

from emosteer._util.text import decoded
from emosteer.errors import InputError

Row = tuple[int, list[str]]
"""Line number and cells."""

SEPARATORS = "\t;,"  # of two that fit, the comma is the one that also stands in words and in numbers
SAMPLE = 50
"""Lines that tell the separator."""

_SEPARATOR = re.compile(r"""\s*"?sep=(?P<separator>[^\w\s"]|\t)"?[ \t]*[\r\n]""", re.IGNORECASE)
"""The first line that spreadsheets write and read, which names the separator."""

__all__ = ["Row", "rows_of"]


def rows_of(path: Path) -> list[Row]:
    """Read the header and at least one more row, all padded to the length of the header, without blank lines."""
    text = _text(path)
    named = _SEPARATOR.match(text)
    rows = _table(path, text, named["separator"] if named else _separator(text))
    rows = [(line, cells) for line, cells in rows if any(cells)][1 if named else 0 :]
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


def _table(path: Path, text: str, separator: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: this is not a table of commas, tabs or semicolons ({error}).",
            'A cell that begins with " needs one at its end.',
        ) from None


def _separator(text: str) -> str:
    """Return the separator that cuts most lines into as many cells as the header, two or more."""
    sample = list(islice(io.StringIO(text, newline=""), SAMPLE))

    def alike(separator: str) -> int:
        with suppress(csv.Error):
            lengths = [len(cells) for cells in csv.reader(sample, delimiter=separator) if any(map(str.strip, cells))]
            return lengths.count(lengths[0]) if lengths and lengths[0] > 1 else int(not lengths)
        return 0

    return max(SEPARATORS, key=alike)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"The norms {str(path)!r} cannot be read: {reason}.", "Give the path of a CSV file."
        ) from error
    try:
        return decoded(data)
    except ValueError as error:
        raise InputError(
            f"{path}, {error}.", "Save a spreadsheet, or text in another encoding, as CSV in UTF-8."
        ) from None
