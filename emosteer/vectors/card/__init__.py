"""The card: README.md of a folder of vectors, a pure function of what the file holds and of the figures beside it.

What people write into it outside of emosteer's marks stays, in its front matter too.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer.errors import InputError, warn
from emosteer.vectors.card.body import FIGURES, FOLDER, figures_of, render
from emosteer.vectors.card.frontmatter import fields, front_matter, metadata, with_fields, with_metadata

if TYPE_CHECKING:
    from emosteer.vectors.config import Config

BEGIN = "<!-- emosteer: written from the file; what you write outside these marks is kept -->"
END = "<!-- /emosteer -->"

_NAMED = re.compile(r'from_pretrained\("([\w.-]+/[\w.-]+)"\)', re.ASCII)

__all__ = [
    "BEGIN",
    "END",
    "existing",
    "figures_of",
    "merged",
    "merged_over",
    "metadata",
    "new",
    "prose",
    "render",
    "require_ours",
    "rewritten",
    "updated",
    "with_metadata",
]


def new(config: Config, figures: Collection[str] = (), repo_id: str | None = None) -> str:
    """Return the card of vectors that have none yet.

    Args:
        config: What the card describes.
        figures: Names of the files beside it; those that it knows are shown.
        repo_id: Of the vectors on the Hub, if known.
    """
    return f"{front_matter(fields(config))}{_marked(config, figures, repo_id)}"


def updated(path: Path, config: Config, *, figures: Collection[str] = (), repo_id: str | None = None) -> str:
    """Return the card for a folder: a new one, or the existing one with emosteer's part rewritten.

    Args:
        path: Of the card, which need not exist.
        config: What the card describes.
        figures: Names of files that will lie beside it, in addition to those that do.
        repo_id: Of the vectors on the Hub, if known.

    Raises:
        InputError: The existing card cannot be read, or its front matter cannot be edited.
    """
    beside = [name for name in FIGURES if name in figures or (path.parent / name).is_file()]
    text = existing(path)
    return new(config, beside, repo_id) if text is None else rewritten(text, config, beside, repo_id)


def rewritten(text: str, config: Config, figures: Collection[str] = (), repo_id: str | None = None) -> str:
    """Return a card with emosteer's part rewritten; arguments as for `new`.

    Raises:
        InputError: Its front matter cannot be read or edited.
    """
    return merged(text, new(config, figures, repo_id))


def merged(theirs: str, ours: str) -> str:
    """Return an edited card with emosteer's part and fields of another one; every other byte is kept.

    Args:
        theirs: The edited card, for example the one on the Hub.
        ours: The card of the vectors as they are now.

    Raises:
        InputError: The front matter of one of them cannot be read or edited.
    """
    text = with_fields(theirs, metadata(ours))
    if not (part := _part(ours)):
        return text
    body = ours[part]
    if not (place := _part(text)):  # written by hand: kept whole, with ours after it
        return f"{text}{'' if text.endswith(chr(10)) else chr(10)}\n{body}\n"
    if repository := _NAMED.search(text[place]):  # the repository, where theirs names one
        body = body.replace(FOLDER, repository[1])
    return f"{text[: place.start]}{body}{text[place.stop :] or chr(10)}"


def merged_over(theirs: bytes, ours: bytes, repo_id: str) -> bytes:
    """Return a repository's card with emosteer's part of ours, for a push.

    Warns where our own text outside of emosteer's part is not in it.

    Args:
        theirs: The card in the repository.
        ours: The card that is pushed.
        repo_id: Of the repository, for messages.

    Raises:
        InputError: One of the cards cannot be read or edited.
    """
    try:
        text = theirs.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(str(error)) from error
    require_ours(text, "there")
    text = merged(text, ours.decode("utf-8-sig"))
    if prose(ours.decode("utf-8-sig")) not in text:
        warn(
            f"The card of {repo_id} keeps its own text; what stands in README.md here outside of emosteer's part is "
            "not in it. Write it there, or let this card replace that one: --replace-card"
        )
    return text.encode()


def prose(text: str) -> str:
    """Return what people wrote into a card: neither front matter nor emosteer's part.

    Args:
        text: The card.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    part = _part(text) or slice(len(text), len(text))
    return REGEX_YAML_BLOCK.sub("", f"{text[: part.start]}{text[part.stop :]}").strip()


def existing(path: Path) -> str | None:
    """Return the existing card or None, and refuse now one that could not be edited later.

    Args:
        path: Of the card.

    Raises:
        InputError: It cannot be read.
    """
    if not path.is_file():
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The card {path} that is already there cannot be read ({error}).") from error
    require_ours(text, str(path))
    return text


def require_ours(text: str, where: str) -> None:
    """Check that a card is not that of a model or an adapter.

    Args:
        text: The card.
        where: It is, for the error.

    Raises:
        InputError: Its front matter cannot be read, or names another library.
    """
    library = metadata(text).get("library_name")
    if library not in (None, "emosteer"):
        raise InputError(
            f"The card {where} is of something else, for {str(library)[:40]}.",
            "Name another place, or take library_name out of it.",
        )


def _part(text: str) -> slice | None:
    """Where emosteer's part is, marks included; a mark without its counterpart is people's text."""
    for end in re.finditer(re.escape(END), text):
        begin = text.rfind(BEGIN, 0, end.start())
        if begin >= 0:
            return slice(begin, end.end())
    return None


def _marked(config: Config, figures: Collection[str], repo_id: str | None) -> str:
    return f"{BEGIN}\n{render(config, figures, repo_id)}{END}\n"
