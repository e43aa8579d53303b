"""The files that a folder or a repository of vectors may hold, and the largest size of each."""

from __future__ import annotations

VECTORS_FILE = "vectors.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
MAX_CONFIG = 2 * 2**20
"""Bytes of a config as canonical JSON; a thousand emotions need half of it."""

RECORDS = ("calibration.json", "steering.json", "alignment.json")
FIGURES_OF = {
    "steering.json": ("dose_response.png", "confusion.png", "tone_and_cost.png"),
    "alignment.json": tuple(
        f"alignment_{name}.png"
        for name in ("circumplex", "similarity", "scree", "layers", "words", "languages", "shared")
    ),
    "languages.json": ("languages.png",),  # of several sets of vectors, so beside none of them
}
"""Record or report → the figures of what it holds."""
FIGURES = tuple(name for record in RECORDS for name in FIGURES_OF.get(record, ()))
MAX_RECORD = 16 * 2**20
"""Bytes of a record or report."""
LIMITS = {
    VECTORS_FILE: 2 * 2**30,
    CONFIG_FILE: 2 * MAX_CONFIG,  # indented for people
    CARD_FILE: 2**20,
    **dict.fromkeys(RECORDS, MAX_RECORD),
    **dict.fromkeys(FIGURES, 4 * 2**20),
}
"""File name → most bytes that such a file may have."""

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "FIGURES",
    "FIGURES_OF",
    "LIMITS",
    "MAX_CONFIG",
    "MAX_RECORD",
    "RECORDS",
    "VECTORS_FILE",
]
