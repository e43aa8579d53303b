"""Finding vectors on the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emosteer._util.names import is_repo_id
from emosteer._util.text import checked
from emosteer.hub.client import client, hub_errors

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

TAG = "emosteer"

__all__ = ["Listing", "search"]


@dataclass(frozen=True)
class Listing:
    """A repository of vectors, as the Hub lists it.

    Args:
        name: `user/name`.
        base_models: The models that the vectors are for, by its card.
        downloads: In the last 30 days.
        likes: Number of likes.
        updated: Day of the last change, such as `2026-11-21`, or None.
        gated: Whether access has to be requested.
        private: Whether it is private.
    """

    name: str
    base_models: tuple[str, ...]
    downloads: int
    likes: int
    updated: str | None
    gated: bool
    private: bool


def search(
    *, base_model: str | None = None, text: str | None = None, limit: int = 50, token: str | bool | None = None
) -> list[Listing]:
    """Find repositories of vectors on the Hub, those with most downloads first.

    Args:
        base_model: Only those for this model.
        text: Only those with this text in their name.
        limit: Maximum number of results.
        token: As for `huggingface_hub`.

    Raises:
        HubError: The Hub cannot be asked.
        InputError: What is searched for is not text.
    """
    for asked in (base_model, text):
        checked(asked or "", "What is searched for")
    tags = [TAG, *([f"base_model:{base_model}"] if base_model else [])]
    with hub_errors("the Hub"):
        models = client(token).list_models(
            filter=tags,
            search=text,
            sort="downloads",
            limit=limit,
            expand=["downloads", "gated", "lastModified", "likes", "private", "tags"],
        )
        return [_listing(info) for info in models if is_repo_id(info.id)]


def _listing(info: ModelInfo) -> Listing:
    tags = info.tags or []
    bases = [tag.rpartition(":")[2] for tag in tags if tag.startswith("base_model:")]
    return Listing(
        info.id,
        tuple(dict.fromkeys(base for base in bases if is_repo_id(base))),
        info.downloads or 0,
        info.likes or 0,
        info.last_modified.date().isoformat() if info.last_modified else None,
        bool(info.gated),
        bool(info.private),
    )
