"""How functions stand behind events: in which queue, what they take, and what goes wrong as a message."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr

from emosteer.errors import EmosteerError, InputError

Function = TypeVar("Function", bound=Callable[..., Any])

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""Events that run a model: one at a time, the others wait in line and are told so."""

SWIFT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Events that only move things on the page."""

FIGURE: dict[str, Any] = {"apply_default_css": False}
"""`gr.HTML` whose content has a style of its own."""

__all__ = ["FIGURE", "MODEL", "SWIFT", "bounded", "line", "refusal", "told"]


def refusal(error: Exception) -> gr.Error:
    """An error for the page, which shows messages as HTML; they may quote a file, the Hub or the visitor."""
    return gr.Error(html.escape(str(error), quote=False), title="That did not work", print_exception=False)


def bounded(text: Any, longest: int) -> str:
    """A text that a visitor or a client gave.

    Args:
        text: Whatever was given.
        longest: Characters that are taken.

    Raises:
        InputError: It is no text, empty or longer.
    """
    if not isinstance(text, str):
        raise InputError(f"{str(text)[:80]} is no text.")
    if not text.strip():
        raise InputError("The text is empty.", "Write something.")
    if len(text) > longest:
        raise InputError(f"The text has {len(text)} characters, at most {longest} are taken.", "Shorten it.")
    return text


def line(status: str) -> str:
    """A line that says what goes on, and is read out."""
    return f"<p role='status' aria-live='polite'>{html.escape(status)}</p>"


def told(function: Function) -> Function:
    """The function, or generator, whose `EmosteerError` the page shows."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from function(*args, **kwargs)
            except EmosteerError as error:
                raise refusal(error) from error

        return generator  # type: ignore[return-value]

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except EmosteerError as error:
            raise refusal(error) from error

    return plain  # type: ignore[return-value]
