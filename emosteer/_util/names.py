"""Names that files and callers use: their patterns, and what a misspelt one may have meant."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn, TypeVar

T = TypeVar("T")

EMOTION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
NAME_RULE = "Use lower-case letters, digits, - and _, a letter first, at most 64."

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)

__all__ = ["EMOTION_NAME", "LANGUAGE", "NAME_RULE", "ByName", "is_repo_id", "meant", "misspelt_path"]


def is_repo_id(name: str) -> bool:
    """Return whether this could be the name of a repository on the Hub."""
    return _REPO_ID.fullmatch(name) is not None


def meant(name: object, names: Collection[str]) -> str:
    """Return a hint for a name that is not among others: those that it is near to, or all."""
    near = get_close_matches(str(name), names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(names) or 'none'}."


class ByName(dict[str, T]):
    """A dict whose `KeyError` says what else there is."""

    def __missing__(self, name: str) -> NoReturn:
        raise KeyError(f"There is no {name!r} here. {meant(name, self)}")


def misspelt_path(name: str) -> str:
    """Return a hint for a path that does not exist but for its last part: what there is in its folder; else ""."""
    path = Path(name)
    there: list[str] = []
    with suppress(OSError, ValueError):
        if not path.exists() and path.parent.is_dir():
            names = (entry.name for entry in path.parent.iterdir())
            there = sorted(name for name in names if name.isprintable() and not name.startswith("."))
    near = [other for other in there if path.name and other.startswith(path.name)]
    near = near or get_close_matches(path.name, there, n=3, cutoff=0.6)
    here = str(path.parent) == "."
    if not near and (here or not there):
        return ""
    where = "this folder" if here else f"the folder {path.parent}"
    return f"In {where} there is no {path.name}, but {', '.join((near or there)[:5])}."
