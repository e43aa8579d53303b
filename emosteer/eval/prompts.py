"""Everyday prompts that ask for nothing emotional, on which tones are tried."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Literal

from emosteer._util import strict_json
from emosteer.errors import InputError

_DATA = resources.files("emosteer.eval") / "data"

__all__ = ["load_prompts", "primary", "prompt_languages", "spread"]


def load_prompts(
    split: Literal["development", "held_out"],
    language: str = "en",
    *,
    kind: Literal["questions", "openings"] = "questions",
) -> tuple[str, ...]:
    """Return the prompts of one split.

    Args:
        split: `"development"` to choose layers and doses on, `"held_out"` to report on.
        language: Language of the prompts: that of a built-in concept set. `zh-TW` has those of `zh`.
        kind: `"questions"` for a chat model to answer, `"openings"` of sentences for a base model to continue.

    Raises:
        InputError: There are none in this language.
    """
    code = primary(language)
    if code not in prompt_languages():
        raise InputError(
            f"There are no prompts in {language!r}.",
            f"There are some in: {', '.join(prompt_languages())}; or give prompts of your own as prompts=, in Python.",
        )
    file = _DATA / f"prompts-{code}.json"
    prompts: list[str] = strict_json.loads(file.read_bytes())[split if kind == "questions" else f"{split}_{kind}"]
    return tuple(prompts)


def primary(language: str) -> str:
    """Return a language without its script or region: `zh` for `zh-TW`."""
    return language.partition("-")[0].lower()


def prompt_languages() -> tuple[str, ...]:
    """Return the codes of the languages that there are prompts in."""
    names = (file.name for file in _DATA.iterdir())
    return tuple(sorted(name[len("prompts-") : -len(".json")] for name in names if name.startswith("prompts-")))


def spread(prompts: Sequence[str], n: int) -> tuple[str, ...]:
    """Return up to n prompts, evenly spaced over a list that is sorted by kind of prompt."""
    n = min(n, len(prompts))
    return tuple(prompts[i * len(prompts) // n] for i in range(n))
