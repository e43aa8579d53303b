"""Short sentences in which words are read, for each language.

The model's state shows a word best just after it, where the model is about to say how it feels, so the state is taken
at the last token of a frame. Words are rated from `WORDS`. Points of emotions are means over `MOODS`, which ask for the
mood rather than for one feeling, and in which valence and arousal are the two leading components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources

from emosteer._util import strict_json
from emosteer.errors import InputError

Frames = Mapping[str, Sequence[str]]
"""Language → frames, with `{}` in the place of the word."""

_FRAMES: dict[str, Frames] = strict_json.loads((resources.files("emosteer.eval") / "data" / "frames.json").read_bytes())

WORDS = _FRAMES["words"]
"""The first frame ends with the word; the others continue after it."""

MOODS = _FRAMES["moods"]

__all__ = ["MOODS", "WORDS", "frames_for"]


def frames_for(table: Frames, language: str) -> tuple[str, ...]:
    """Return the frames of a language; `zh-TW` has those of `zh`.

    Raises:
        InputError: The language has none.
    """
    primary = language.partition("-")[0]
    if primary not in table:
        raise InputError(
            f"There are no frames to read words of {language!r} in.", f"There are some for: {', '.join(table)}."
        )
    return tuple(table[primary])
