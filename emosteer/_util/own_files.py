"""Which files are emosteer's, told by what is in them: no others are replaced."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from emosteer._util import strict_json
from emosteer._util.layout import CARD_FILE, CONFIG_FILE, FIGURES_OF, LIMITS, MAX_RECORD, VECTORS_FILE
from emosteer.errors import InputError

_FIELDS = {  # JSON file → what only emosteer's has together
    CONFIG_FILE: {"format_version", "emosteer_version", "digests"},
    "calibration.json": {"schema", "exponent", "windows"},
    "steering.json": {"schema", "cells", "ways"},
    "alignment.json": {"schema", "geometry", "ceilings"},
    "languages.json": {"schema", "crossings"},
}
_GGUF_KEY = struct.pack("<Q", 8) + b"emosteer"
_HEAD = 2**16
"""Bytes of a GGUF control vector in which all of its fields stand."""

__all__ = ["is_own", "require_own"]


def require_own(folder: Path, names: Iterable[str]) -> None:
    """Check that files that are to be written take the place of emosteer's own only.

    Args:
        folder: Of the files; it need not exist.
        names: Of the files.

    Raises:
        InputError: One of them is there and is not emosteer's.
    """
    for name in names:
        path = folder / name
        if _is_file(path) and not is_own(path):
            raise InputError(
                f"{path} is there and is not emosteer's{_whose(path)}.",
                "Nothing was changed; name another folder (--output), or move that file.",
            )


def is_own(path: Path) -> bool:
    """Return whether a file is emosteer's: a part of a set of vectors, a record, a report or a control vector.

    A figure, a page or a table has no mark of its own: it is emosteer's where the record of what it shows is, and a
    card without emosteer's part where vectors are.

    Args:
        path: Of the file, which may be missing.
    """
    with suppress(OSError):  # what cannot be read is not ours to replace
        return _is_file(path) and _is_own(path)
    return False


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # a name that is too long for the system
        return path.is_file()
    return False


def _is_own(path: Path) -> bool:
    name, folder = path.name, path.parent
    if name == VECTORS_FILE:
        return _holds_vectors(path)
    if name in _FIELDS:
        return _FIELDS[name] <= _fields(path).keys()
    if name == CARD_FILE:
        return _is_card(path) or is_own(folder / VECTORS_FILE)
    if path.suffix in (".png", ".html", ".csv"):
        return any(is_own(folder / beside) for beside in (*FIGURES_OF, VECTORS_FILE))
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    return head.startswith(b"GGUF") and _GGUF_KEY in head


def _fields(path: Path) -> dict[str, Any]:
    """The fields of a JSON object; none if it is something else."""
    if path.stat().st_size > LIMITS.get(path.name, MAX_RECORD):
        return {}
    with suppress(ValueError):
        content = strict_json.loads(path.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def _holds_vectors(path: Path) -> bool:
    """Return whether the header of a safetensors file has emosteer's key."""
    with path.open("rb") as stream, suppress(ValueError, AttributeError, struct.error, RecursionError):
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(min(length, LIMITS[VECTORS_FILE])))
        return "emosteer" in header.get("__metadata__", {})
    return False


def _is_card(path: Path) -> bool:
    """Return whether a card has emosteer's part, or no text of its own, as a new repository's has."""
    if path.stat().st_size > LIMITS[CARD_FILE]:
        return False
    text = path.read_bytes().decode(errors="replace")
    front = re.match(r"\s*---\s*\n(?:.*\n)??---\s*(?:\n|$)", text, re.DOTALL)
    bare = not text[front.end() if front else 0 :].strip()
    return bare or "<!-- emosteer:" in text or re.search(r"(?m)^library_name: *emosteer *$", text) is not None


def _whose(path: Path) -> str:
    """What a file is, where that can be told."""
    if path.suffix != ".json":
        return ""
    fields = _fields(path) if path.name in LIMITS else {}
    model = fields.get("model_type") or (fields.get("architectures") or [None])[0]
    return f", but a model's ({str(model)[:40]})" if model else ""
