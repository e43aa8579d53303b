"""Errors and warnings, which say what was found, what was expected and what to do."""

from __future__ import annotations

import importlib.util
import sys
import warnings


class EmosteerError(Exception):
    """Base class of all errors that emosteer raises.

    Args:
        message: What was found and what was expected, in one or two sentences.
        hint: What to do, or None.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} {hint}")
        self.hint = hint


class ConceptError(EmosteerError, ValueError):
    """An incomplete or invalid concept set."""


class FormatError(EmosteerError, ValueError):
    """A vector file or folder that is damaged, in another format or from a later version."""


class IncompatibleModelError(EmosteerError, ValueError):
    """Vectors that do not fit a model, or a model that cannot be steered."""


class ToneError(EmosteerError, ValueError):
    """An invalid tone, such as one with an unknown emotion or a strength out of range."""


class InputError(EmosteerError, ValueError):
    """An invalid text, prompt or argument."""


class HubError(EmosteerError, RuntimeError):
    """A failed request to the Hub."""


class MissingExtraError(EmosteerError, ImportError):
    """A missing package that an optional part of emosteer needs."""


class EmosteerWarning(UserWarning):
    """A warning about something that works, but perhaps not as the caller expects."""


def require(extra: str, *packages: str) -> None:
    """Check that packages of an extra are installed, before long work that needs them.

    Args:
        extra: The extra of emosteer, such as `"eval"`.
        *packages: The import names of the packages.

    Raises:
        MissingExtraError: A package is not installed.
    """
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise MissingExtraError(
            f"This needs {' and '.join(missing)}.", f"Install what is missing with: pip install 'emosteer[{extra}]'"
        )


def warn(message: str) -> None:
    """Issue an `EmosteerWarning` that points at the caller's line outside emosteer."""
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "emosteer":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, EmosteerWarning, stacklevel=depth)
