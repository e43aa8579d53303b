"""Checks of what visitors ask to load: names and files from the page."""

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
"""Bytes of a model above which the visitor must confirm, and above which it is refused."""

LARGEST_FILE = 128 * 1024 * 1024
"""Largest upload of vectors, in bytes."""

LANGUAGES: Mapping[str, str] = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "fr": "French", "hi": "Hindi", "ja": "Japanese",
    "zh": "Chinese",
}  # fmt: skip

__all__ = [
    "LARGEST_FILE",
    "AskFirst",
    "checked_concepts",
    "checked_name",
    "checked_size",
    "gigabytes",
    "languages",
    "read_upload",
]


class AskFirst(InputError):  # noqa: N818 - a question
    """The visitor must confirm first."""


def checked_name(text: str, what: str) -> str:
    """Check the name of a repository on the Hub, and return it. Paths of this machine are refused.

    Args:
        text: The visitor's input.
        what: `"model"` or `"vectors"`, for the error.

    Raises:
        InputError: The text is not such a name.
    """
    name = (text or "").strip()
    valid = is_repo_id(name) and not name.endswith(".gguf") and not Path(name).exists()
    if not valid or (what == "vectors" and "/" not in name):
        shown = name[:80] or "An empty name"
        raise InputError(
            f"{shown} is not the name of {'a model' if what == 'model' else what} on the Hub.",
            "Write it as it is there: user/name.",
        )
    return name


def checked_size(model: str, size_of: Callable[[str], int | None], anyway: bool) -> str:
    """Check the size of a model, and return it in words.

    Args:
        model: Hub id of the model.
        size_of: Function from Hub id to bytes, or None if they are unknown.
        anyway: Whether the visitor has confirmed a large size.

    Raises:
        AskFirst: The model is large or of unknown size, and the visitor has not confirmed it.
        InputError: The model is too large.
    """
    size = size_of(model)
    if size is not None and size > LARGEST:
        raise InputError(
            f"{model} has {gigabytes(size)}, more than {gigabytes(LARGEST)} are not taken here.",
            "Open this page on a machine of your own with: emosteer demo --model …",
        )
    if (size is None or size > LARGE) and not anyway:
        described = "is of unknown size" if size is None else f"has {gigabytes(size)}"
        raise AskFirst(
            f"{model} {described}: loading it may take long, and each answer too.", "Tick the box to load it."
        )
    return "of unknown size" if size is None else gigabytes(size)


def gigabytes(size: int) -> str:
    """Format a number of bytes."""
    return f"{size / 10**9:.1f} GB" if size >= 10**8 else f"{size / 10**6:.1f} MB"


def read_upload(path: str) -> tuple[EmotionVectors, str]:
    """Read the vectors of an uploaded file, and the sha256 of its bytes.

    Args:
        path: Where gradio keeps the upload, under the visitor's name for it.

    Raises:
        FormatError: The file is not a vector file that this version reads, or is too large.
    """
    from io import BytesIO

    file = Path(path)
    name = file.name[:80]
    if (size := file.stat().st_size) > LARGEST_FILE:
        raise FormatError(f"{name} has {gigabytes(size)}, at most {gigabytes(LARGEST_FILE)} are taken.")
    data = file.read_bytes()  # read once, so that what is checked is what is used
    vectors = EmotionVectors.from_file(fmt.VectorFile.over(BytesIO(data), len(data), name))
    return vectors, hashlib.sha256(data).hexdigest()


def checked_concepts(language: str, emotions: Sequence[str] | None) -> Concepts:
    """Check the choice of texts to build vectors from.

    Raises:
        ConceptError: There is no such language or emotion.
    """
    if language not in built_in():  # any other name could be that of a file
        raise ConceptError(f"There is no built-in concept set {language!r}.", f"There are: {', '.join(built_in())}.")
    concepts = Concepts(language, tuple(emotions or ()))
    concepts.load()
    return concepts


def languages() -> list[tuple[str, str]]:
    """Return the languages of the built-in concept sets, as name and code."""
    return [(LANGUAGES.get(code, code), code) for code in built_in()]
