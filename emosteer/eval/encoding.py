"""Prompts as token ids: plain, with an instruction, or with a request for a tone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from emosteer.errors import InputError
from emosteer.eval.fluency import prompt_tokens
from emosteer.eval.language import instruction
from emosteer.eval.prompts import Prompt, as_prompt
from emosteer.steering.asking import asked

if TYPE_CHECKING:
    from emosteer.model import SteeredModel

__all__ = ["Encoder"]


class Encoder:
    """Prompts of a measurement as token ids, each encoded once.

    Args:
        steered: The model.
        language: Language of the instructions.
    """

    def __init__(self, steered: SteeredModel, language: str) -> None:
        self._steered, self._language = steered, language
        self._known: dict[tuple[object, ...], tuple[int, ...]] = {}

    def plain(self, prompt: str | Prompt) -> tuple[int, ...]:
        """Return a prompt as it is."""
        return self._kept((prompt,), lambda: prompt_tokens(self._steered, as_prompt(prompt).message))

    def instructed(self, prompt: str | Prompt, emotion: str) -> tuple[int, ...]:
        """Return a prompt with an instruction that names an emotion, which is the control of all ways of steering."""
        return self._kept((prompt, emotion), lambda: self._instructed(as_prompt(prompt), emotion))

    def asked(self, prompt: str | Prompt, tone: Mapping[str, float]) -> tuple[int, ...]:
        """Return a prompt with a request for a tone, as recipes that ask make it."""
        tokenizer, vectors = self._steered.tokenizer, self._steered.vectors
        return self._kept(
            (prompt, *tone.items()),
            lambda: prompt_tokens(self._steered, asked(tokenizer, vectors, as_prompt(prompt).message, dict(tone))),
        )

    def _kept(self, key: tuple[object, ...], encode: Callable[[], list[int]]) -> tuple[int, ...]:
        if key not in self._known:
            self._known[key] = tuple(encode())
        return self._known[key]

    def _instructed(self, prompt: Prompt, emotion: str) -> list[int]:
        from jinja2 import TemplateError

        chat = bool(self._steered.tokenizer.chat_template)
        words = instruction(self._steered.vectors, emotion, self._language, chat=chat)
        if not chat:
            return prompt_tokens(self._steered, f"{words}{prompt.text}")
        first, user = f"{prompt.system}\n\n{words}" if prompt.system else words, prompt.text
        try:
            return prompt_tokens(
                self._steered, [{"role": "system", "content": first}, {"role": "user", "content": user}]
            )
        except (TemplateError, InputError):  # some chat templates have no system role
            return prompt_tokens(self._steered, f"{first}\n\n{user}")
