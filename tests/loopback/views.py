"""What the hub keeps, as the JSON that the client reads."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import yaml

from . import cards
from .store import Blob, Commit, Repository


def written(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def card_of(commit: Commit) -> str:
    return commit.files.get("README.md", Blob(b"")).data.decode(errors="replace")


def card_data(card: str) -> dict[str, Any] | None:
    """The front matter as JSON can hold it; None when there is none or it cannot be read."""
    try:
        data = cards.front_matter(card)
    except yaml.YAMLError:
        return None
    return json.loads(json.dumps(data, default=str))


def repository_info(repository: Repository, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """Everything that is known about a repository at a commit."""
    card = card_of(commit)
    data = card_data(card) or {}
    info: dict[str, Any] = {
        "_id": Blob(repository.id.encode()).git_id[:24],
        "id": repository.id,
        "modelId": repository.id,
        "author": repository.owner,
        "sha": commit.oid,
        "lastModified": written(repository.last_modified or commit.date),
        "createdAt": written(repository.created),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": repository.downloads,
        "downloadsAllTime": repository.downloads,
        "likes": repository.likes,
        "trendingScore": repository.likes,
        "tags": list(dict.fromkeys([*repository.tags, *cards.tags_of(card, list(commit.files))])),
        "cardData": card_data(card),
        "siblings": [sibling(path, blob, blobs) for path, blob in sorted(commit.files.items())],
        "spaces": [],
        "usedStorage": sum(len(blob.data) for blob in commit.files.values()),
    }
    for key in ("library_name", "pipeline_tag", "model-index"):
        if key in data:
            info[key] = data[key]
    return info


def sibling(path: str, blob: Blob, with_blob: bool) -> dict[str, Any]:
    if not with_blob:
        return {"rfilename": path}
    entry: dict[str, Any] = {"rfilename": path, "size": len(blob.data), "blobId": blob.git_id}
    if blob.lfs:
        entry["lfs"] = {"sha256": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    return entry
