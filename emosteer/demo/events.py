"""What event handlers share: queues, checks of their input, and errors as messages."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import gradio as gr

from emosteer._util.text import checked
from emosteer.errors import EmosteerError, InputError

Function = TypeVar("Function", bound=Callable[..., Any])

MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private"}
"""Options of events that run a model. They run one at a time; the others wait in the queue."""

SWIFT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Options of events that only change widgets."""

FIGURE: dict[str, Any] = {"apply_default_css": False}
"""Options of a `gr.HTML` whose content has its own style."""

__all__ = ["FIGURE", "MODEL", "SWIFT", "checked_text", "refusal", "status_line", "with_errors"]


def refusal(error: Exception) -> gr.Error:
    """Return an error that the page can show. It is escaped, since it may quote a file, the Hub or the visitor."""
    return gr.Error(html.escape(str(error), quote=False), title="That did not work", print_exception=False)


def checked_text(text: Any, longest: int) -> str:
    """Check a text from a visitor or a client, and return it.

    Args:
        text: The input, of any type.
        longest: Largest number of characters.

    Raises:
        InputError: The input is not a string or not text, is empty, or is too long.
    """
    if not isinstance(text, str):
        raise InputError(f"{str(text)[:80]} is no text.")
    if not text.strip():
        raise InputError("The text is empty.", "Write something.")
    if len(text) > longest:
        raise InputError(f"The text has {len(text)} characters, at most {longest} are taken.", "Shorten it.")
    return checked(text, "The text")


def status_line(status: str) -> str:
    """Return the HTML of a status line, which screen readers announce."""
    return f"<p role='status' aria-live='polite'>{html.escape(status)}</p>"


def with_errors(function: Function) -> Function:
    """Wrap a function or generator function so that the page shows its `EmosteerError`."""
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
