"""What can go wrong, said for people: what was found, what was expected, what to do."""

from __future__ import annotations

import importlib.util
import sys
import warnings


class EmosteerError(Exception):
    """Base of every error that emosteer raises on purpose.

    Args:
        message: What was found and what was expected, in one or two sentences.
        hint: What to do about it, if there is something.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} {hint}")
        self.hint = hint


class ConceptError(EmosteerError, ValueError):
    """A concept set that is missing something or says something it may not."""


class FormatError(EmosteerError, ValueError):
    """A vector file or folder that is damaged, foreign or from a later version."""


class IncompatibleModelError(EmosteerError, ValueError):
    """Vectors of one model and a model of another shape, or a model that cannot be steered."""


class ToneError(EmosteerError, ValueError):
    """A requested tone that cannot be given: unknown emotion, strength out of range, layer not there."""


class InputError(EmosteerError, ValueError):
    """Text, prompt or argument that cannot be used as given."""


class HubError(EmosteerError, RuntimeError):
    """The Hub does not give or take something, or cannot be reached."""


class MissingExtraError(EmosteerError, ImportError):
    """A part of emosteer that needs a package which is not installed."""


class EmosteerWarning(UserWarning):
    """Something works, but perhaps not as the caller thinks."""


def require(extra: str, *packages: str) -> None:
    """See that the packages of an extra are there, before work begins that would end without them.

    Args:
        extra: Of emosteer, such as `"eval"`.
        packages: As they are imported.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    if missing := [package for package in packages if importlib.util.find_spec(package) is None]:
        raise MissingExtraError(
            f"This needs {' and '.join(missing)}.", f"Install what is missing with: pip install 'emosteer[{extra}]'"
        )


def warn(message: str) -> None:
    """Warn at the line outside of emosteer that led here, however deep in emosteer it was noticed."""
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "emosteer":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, EmosteerWarning, stacklevel=depth)
