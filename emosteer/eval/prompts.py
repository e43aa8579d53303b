"""Prompts that ask for nothing emotional, on which tones are tried: a bench that is like use, and everyday prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, TypeVar

from emosteer._util import strict_json
from emosteer.errors import InputError
from emosteer.models.messages import Messages

BENCH = ("en", "zh")
"""Languages that the bench is written in."""

Split = Literal["development", "held_out"]
Asked = TypeVar("Asked")

_DATA = resources.files("emosteer.eval") / "data"

__all__ = [
    "BENCH",
    "Prompt",
    "as_prompt",
    "load_bench",
    "load_prompts",
    "primary",
    "prompt_languages",
    "spread",
    "usual_prompts",
]


@dataclass(frozen=True)
class Prompt:
    """What a model is asked.

    Args:
        id: Its name, which no other prompt has.
        kind: Kind of use: `everyday`, `character`, `advice`, `explain`, `story` or `message`; empty if it has none.
        text: What the user says; for a base model, the text that is continued.
        system: The system message before it, if there is one.
    """

    id: str
    kind: str
    text: str
    system: str | None = None

    @property
    def message(self) -> str | Messages:
        """The prompt as `SteeredModel.chat` takes it."""
        if self.system is None:
            return self.text
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.text}]


def as_prompt(prompt: str | Prompt) -> Prompt:
    """Return a prompt of the caller's own, which may be a text alone, as a `Prompt`."""
    return prompt if isinstance(prompt, Prompt) else Prompt(prompt, "", prompt)


def load_bench(split: Split, language: str = "en") -> tuple[Prompt, ...]:
    """Return the bench of one split: 60 prompts for chat models, ten of each kind of use, sorted by kind.

    Args:
        split: `"development"` to choose layers, doses and recipes on, `"held_out"` to report on.
        language: Language of the prompts, one of `BENCH`. `zh-TW` has those of `zh`.

    Raises:
        InputError: There is none in this language.
    """
    code = primary(language)
    if code not in BENCH:
        raise InputError(f"There is no bench in {language!r}.", f"There is one in: {', '.join(BENCH)}.")
    kinds = strict_json.loads((_DATA / f"bench-{code}.json").read_bytes())[split]
    return tuple(
        Prompt(f"{code}-{split}-{kind}-{i}", kind, **({"text": entry} if isinstance(entry, str) else entry))
        for kind, entries in kinds.items()
        for i, entry in enumerate(entries)
    )


def usual_prompts(split: Split, language: str, *, chat: bool) -> tuple[Prompt, ...]:
    """Return what a model is measured with: the bench, or questions where there is none; openings for a base model.

    Args:
        split: As for `load_bench`.
        language: Language of the prompts.
        chat: Whether the model has a chat template.

    Raises:
        InputError: There are none in this language.
    """
    if not chat:
        return tuple(map(as_prompt, load_prompts(split, language, kind="openings")))
    if primary(language) in BENCH:
        return load_bench(split, language)
    return tuple(map(as_prompt, load_prompts(split, language)))


def load_prompts(
    split: Split,
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


def spread(prompts: Sequence[Asked], n: int) -> tuple[Asked, ...]:
    """Return up to n prompts, evenly spaced over a list that is sorted by kind of prompt."""
    n = min(n, len(prompts))
    return tuple(prompts[i * len(prompts) // n] for i in range(n))
