"""What a visitor may ask to have loaded: names and files from the page, checked before anything is done about them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer import EmotionVectors
from emosteer._util.names import is_repo_id
from emosteer.concepts.conceptset import built_in
from emosteer.demo.pairs import Concepts
from emosteer.errors import ConceptError, FormatError, InputError
from emosteer.vectors import format as fmt

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGE, LARGEST = 10**9, 8 * 10**9
"""Bytes of a model from which on the visitor is asked first, and above which it is refused."""

LARGEST_FILE = 128 * 1024 * 1024
"""Bytes of vectors that a visitor may bring."""

LANGUAGES: Mapping[str, str] = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi", "ja": "Japanese",
    "zh": "Chinese",
}  # fmt: skip

__all__ = ["LARGEST_FILE", "AskFirst", "brought", "concepts_named", "gigabytes", "languages", "named", "weighed"]


class AskFirst(InputError):  # noqa: N818 - a question
    """What is done only when the visitor has said so."""


def named(text: str, what: str) -> str:
    """The name of something on the Hub; never a path on this machine, whose files are no business of a visitor.

    Args:
        text: As it was written.
        what: `"model"` or `"vectors"`, for the message.

    Raises:
        InputError: It is none.
    """
    name = (text or "").strip()
    known = is_repo_id(name) and not name.endswith(".gguf") and not Path(name).exists()
    if not known or (what == "vectors" and "/" not in name):
        shown = name[:80] or "An empty name"
        raise InputError(
            f"{shown} is not the name of {'a model' if what == 'model' else what} on the Hub.",
            "Write it as it is there: user/name.",
        )
    return name


def weighed(model: str, size_of: Callable[[str], int | None], anyway: bool) -> str:
    """How large a model is, in words.

    Args:
        model: Its Hub id.
        size_of: Hub id → bytes, or None where that is not known.
        anyway: The visitor wants it however large it is.

    Raises:
        AskFirst: It is large, or nobody knows how large.
        InputError: It is too large.
    """
    size = size_of(model)
    if size is not None and size > LARGEST:
        raise InputError(
            f"{model} has {gigabytes(size)}, more than {gigabytes(LARGEST)} are not taken here.",
            "Open this page on a machine of your own with: emosteer demo --model …",
        )
    if (size is None or size > LARGE) and not anyway:
        found = "is of unknown size" if size is None else f"has {gigabytes(size)}"
        raise AskFirst(f"{model} {found}: loading it may take long, and each answer too.", "Tick the box to load it.")
    return "of unknown size" if size is None else gigabytes(size)


def gigabytes(size: int) -> str:
    """A size in words."""
    return f"{size / 10**9:.1f} GB" if size >= 10**8 else f"{size / 10**6:.1f} MB"


def brought(path: str) -> tuple[EmotionVectors, str]:
    """The vectors of a file that a visitor brought, and the sha256 of its bytes.

    Args:
        path: Where gradio keeps the upload, under the visitor's name for it.

    Raises:
        FormatError: It is not a vector file that this version reads, or is too large.
    """
    from io import BytesIO

    file = Path(path)
    name = file.name[:80]
    if (size := file.stat().st_size) > LARGEST_FILE:
        raise FormatError(f"{name} has {gigabytes(size)}, at most {gigabytes(LARGEST_FILE)} are taken.")
    data = file.read_bytes()  # once, and held: what is checked is what is used
    vectors = EmotionVectors.from_file(fmt.VectorFile.over(BytesIO(data), len(data), name))
    return vectors, hashlib.sha256(data).hexdigest()


def concepts_named(language: str, emotions: Sequence[str] | None) -> Concepts:
    """What vectors are to be built from.

    Raises:
        ConceptError: There is no such language, or not this emotion.
    """
    if language not in built_in():  # any other name would be that of a file
        raise ConceptError(f"There is no built-in concept set {language!r}.", f"There are: {', '.join(built_in())}.")
    concepts = Concepts(language, tuple(emotions or ()))
    concepts.load()
    return concepts


def languages() -> list[tuple[str, str]]:
    """Those of the built-in concept sets: name and code."""
    return [(LANGUAGES.get(code, code), code) for code in built_in()]
