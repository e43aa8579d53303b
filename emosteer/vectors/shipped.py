"""The vector sets that come with emosteer.

A wheel carries them inside the package; a clone, and an editable install of it, has them in `vectors/` beside it.
"""

from __future__ import annotations

from pathlib import Path

from emosteer._util.layout import VECTORS_FILE
from emosteer.errors import InputError

EMBEDDED_SET = "smollm2-135m-instruct-en"
"""The set made for the embedded model."""

SETS = {"embedded": EMBEDDED_SET, "Qwen/Qwen2.5-Coder-1.5B-Instruct": "qwen2.5-coder-1.5b-instruct-en-zh"}
"""Name of a model, as it is loaded by → the set made for it."""

_PACKAGE = Path(__file__).parent.parent

__all__ = ["EMBEDDED_SET", "SETS", "shipped_folder"]


def shipped_folder(name: str = EMBEDDED_SET) -> Path:
    """Return the folder of a vector set that comes with emosteer.

    Args:
        name: Name of the set.

    Raises:
        InputError: This installation does not contain the set.
    """
    for parent in (_PACKAGE / "_shipped", _PACKAGE.parent / "vectors"):
        if (parent / name / VECTORS_FILE).is_file():
            return parent / name
    raise InputError(
        f"This installation of emosteer does not contain the vectors {name}.",
        "Install it again with: pip install --force-reinstall --no-deps emosteer",
    )
