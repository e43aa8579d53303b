"""What the hub keeps, as the JSON that the client reads."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import yaml

from . import cards
from .store import Blob, Commit, PullRequest, Repository


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


def file_entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """A file in a listing of a tree."""
    blob = commit.files[path]
    entry: dict[str, Any] = {"type": "file", "oid": blob.git_id, "size": len(blob.data), "path": path}
    if blob.lfs:
        entry["lfs"] = {"oid": blob.sha256, "size": len(blob.data), "pointerSize": len(blob.pointer)}
    if expand:
        entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
        entry["lastCommit"] = last_commit(commit, path)
    return entry


def folder_entry(commit: Commit, path: str, *, expand: bool) -> dict[str, Any]:
    """A folder in a listing of a tree."""
    inside = sorted((name, blob.git_id) for name, blob in commit.files.items() if name.startswith(f"{path}/"))
    entry: dict[str, Any] = {"type": "directory", "oid": Blob(repr(inside).encode()).git_id, "size": 0, "path": path}
    if expand:
        entry["lastCommit"] = last_commit(commit, path)
    return entry


def last_commit(commit: Commit, path: str) -> dict[str, str]:
    last = commit.last_change(path)
    return {"id": last.oid, "title": last.title, "date": written(last.date)}


def folders(commit: Commit) -> set[str]:
    """Every folder that has a file somewhere in it."""
    return {path[:i] for path in commit.files for i, letter in enumerate(path) if letter == "/"}


def tree(commit: Commit, top: str, *, recursive: bool, expand: bool) -> list[dict[str, Any]]:
    """What is in a folder ("" is the root), and with `recursive` in those below it."""
    start = f"{top}/" if top else ""

    def listed(path: str) -> bool:
        return path.startswith(start) and (recursive or "/" not in path[len(start) :])

    return [
        *(folder_entry(commit, path, expand=expand) for path in sorted(folders(commit)) if listed(path)),
        *(file_entry(commit, path, expand=expand) for path in sorted(commit.files) if listed(path)),
    ]


def commit_entry(commit: Commit) -> dict[str, Any]:
    """A commit in the history of a branch."""
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.author}],
        "date": written(commit.date),
    }


def pull_request(repository: Repository, pull: PullRequest, *, details: bool) -> dict[str, Any]:
    """A pull request in a list, or with its events and where it goes."""
    author = {"name": pull.author, "type": "user"}
    entry: dict[str, Any] = {
        "num": pull.num,
        "title": pull.title,
        "author": author,
        "status": pull.status,
        "createdAt": written(pull.date),
        "isPullRequest": True,
        "repo": {"name": repository.id, "type": "model"},
    }
    if details:
        told = {"edited": False, "hidden": False, "latest": {"raw": pull.description}}
        events = [{"id": f"{pull.num:024x}", "type": "comment", "data": told}]
        on_main = {commit.oid for commit in repository.commits}
        for commit in reversed(list(repository.refs[f"refs/pr/{pull.num}"].history())):
            if commit.oid not in on_main:
                data = {"subject": commit.title, "oid": commit.oid}
                events.append({"id": commit.oid[:24], "type": "commit", "data": data})
        entry["events"] = [{**event, "author": author, "createdAt": written(pull.date)} for event in events]
        entry |= {"changes": {"base": "refs/heads/main"}, "filesWithConflicts": [], "diff": ""}
    return entry
