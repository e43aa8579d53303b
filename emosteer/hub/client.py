"""The Hub's client, and its errors in the words of `HubError`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from emosteer._util.names import is_repo_id, misspelt_path
from emosteer.errors import EmosteerError, HubError, InputError

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN."

_SUBFOLDER = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95}){0,4}", re.ASCII)

# What the client raises over an answer of an unexpected kind.
_NOT_UNDERSTOOD = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

__all__ = ["AwayError", "away", "check_names", "client", "hub_errors"]


def client(token: str | bool | None) -> HfApi:
    """Return the Hub's client.

    Args:
        token: As for `huggingface_hub`: by default the one that was saved by its login.
    """
    from huggingface_hub import HfApi

    return HfApi(token=token, library_name="emosteer", library_version=version("emosteer"))


def check_names(repo_id: str, subfolder: str | None) -> None:
    """Check that these could be a repository and a folder in it.

    Raises:
        InputError: One of them cannot.
    """
    if repo_id.count("/") != 1 or not is_repo_id(repo_id):
        raise InputError(f"{repo_id[:200]!r} is not the name of a repository.", "It is of the form user/name.")
    if subfolder is not None and not _SUBFOLDER.fullmatch(subfolder):
        raise InputError(f"{subfolder[:200]!r} is not the name of a folder in a repository.", "For example: en/small")


class AwayError(HubError):
    """The Hub cannot be reached, or is in trouble."""


@contextmanager
def hub_errors(name: str, *, writing: bool = False, committing: bool = False) -> Iterator[None]:
    """Turn whatever the client raises into a `HubError` with a message for people.

    Args:
        name: Of the repository, or of whatever was asked for.
        writing: Whether something was to be written there.
        committing: Whether it may have been written although no answer says so.

    Raises:
        HubError: In place of the client's own errors.
    """
    from huggingface_hub import errors
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # by whatever name it goes there

    unchanged, unknown = " Nothing was written." if writing else "", "Try again."
    if committing:
        unknown = "Whether it was written is not known: push again, which does no harm."
    elif writing:
        unknown = "Nothing was written: try again."
    try:
        yield
    except EmosteerError:
        raise
    except errors.HfHubHTTPError as error:
        raise _answered(name, error, unchanged, unknown) from error
    except (errors.OfflineModeIsEnabled, errors.RevisionResolutionError, errors.LocalEntryNotFoundError) as error:
        raise away(name, writing=writing) from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise AwayError(
            f"The connection to the Hub failed over {name} ({type(error).__name__}: {_line(error)}).", unknown
        ) from error
    except _NOT_UNDERSTOOD as error:
        if writing and isinstance(error, ValueError) and not isinstance(error, json.JSONDecodeError):
            # The client's word for a card that the Hub refuses.
            raise HubError(f"The Hub does not take {name} so: {_line(error, 1000)}{unchanged}") from error
        raise HubError(
            f"What the Hub answers about {name} cannot be understood ({type(error).__name__}: {_line(error)}).",
            "Is something between here and the Hub, a page to log in on for example? Is HF_ENDPOINT set?"
            + (f" {unknown}" if writing else ""),
        ) from error


def away(name: str, *, writing: bool = False) -> AwayError:
    """Return the error for a repository that has neither a connection nor a local copy."""
    if writing or not is_repo_id(name):
        message = f"{name} cannot be reached now." + (" Nothing was written." if writing else "")
        return AwayError(message, "Try again with a connection.")
    return AwayError(
        f"{name} is no folder here, cannot be got from the Hub now, and is not in the Hub client's cache.",
        misspelt_path(name) or f"With a connection, once: emosteer pull {name}",
    )


def _line(message: object, longest: int = 300) -> str:
    """A server's message on one line and without control characters."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(str(message).split()))[:longest]


def _answered(name: str, error: HfHubHTTPError, unchanged: str, unknown: str) -> HubError:
    """What an error answer of the Hub means, and what to do."""
    from huggingface_hub import errors

    reason = _line(error.server_message or error)
    kinds = [  # the first that fits: a gated repository is also one that is not found
        (errors.GatedRepoError, f"{name} is gated: its owner asks for something first.", f"See its page. {LOG_IN}"),
        (errors.DisabledRepoError, f"{name} has been disabled on the Hub.", None),
        (errors.RevisionNotFoundError, f"{name} has no such branch, tag or commit.", "The default is the main branch."),
        (errors.RemoteEntryNotFoundError, f"{name} has no such file at this commit.", None),
        (
            errors.RepositoryNotFoundError,
            f"There is no folder {name} here, nor a repository of that name on the Hub that you can see.",
            misspelt_path(name) or f"If it is private: {LOG_IN}",
        ),
    ]
    for kind, problem, hint in kinds:
        if isinstance(error, kind):
            return HubError(problem + unchanged, hint)
    wait = error.response.headers.get("retry-after", "")
    conflict = (f"Somebody else changed {name} in the meantime.", "Look at what they did, then push again.")
    statuses = {
        401: (f"The Hub does not accept this token ({reason}).", LOG_IN),
        403: (
            f"You may not do that to {name} ({reason}).",
            f"Use a token that may write there, or propose the change as a pull request. {LOG_IN}",
        ),
        409: conflict,
        412: conflict,
        429: (
            "The Hub gets too many requests from here.",
            f"Try again in {wait} seconds." if wait.isdigit() else "Try again in some minutes.",
        ),
    }
    status = error.response.status_code
    if status >= 500:
        return AwayError(f"The Hub is in trouble (status {status}).", unknown)
    problem, hint = statuses.get(status) or (f"The Hub refuses {name} ({reason}).", None)
    return HubError(problem + unchanged, hint)
