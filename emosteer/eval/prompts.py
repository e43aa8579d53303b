"""Everyday prompts that ask for nothing emotional, on which tones are tried."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Literal

from emosteer._util import strict_json

__all__ = ["load_prompts", "spread"]


def load_prompts(
    split: Literal["development", "held_out"],
    language: str = "en",
    *,
    kind: Literal["questions", "openings"] = "questions",
) -> tuple[str, ...]:
    """Return the prompts of one split.

    Args:
        split: `"development"` to choose layers and doses on, `"held_out"` to report on.
        language: Language of the prompts.
        kind: `"questions"` for a chat model to answer, `"openings"` of sentences for a base model to continue.
    """
    file = resources.files("emosteer.eval") / "data" / f"prompts-{language}.json"
    prompts: list[str] = strict_json.loads(file.read_bytes())[split if kind == "questions" else f"{split}_{kind}"]
    return tuple(prompts)


def spread(prompts: Sequence[str], n: int) -> tuple[str, ...]:
    """Return up to n prompts, evenly spaced over a list that is sorted by kind of prompt."""
    n = min(n, len(prompts))
    return tuple(prompts[i * len(prompts) // n] for i in range(n))
