"""Repositories, commits, branches, tags and pull requests: what changes the hub."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from .routing import REPO, REVISION, Reply, Request, answer, readable, refusal, route, writable
from .store import MAIN, Blob, Commit, HubError, PullRequest, Repository

if TYPE_CHECKING:
    from .hub import LoopbackHub


@route("POST", "/api/repos/create")
def create_repository(hub: LoopbackHub, request: Request) -> Reply:
    wanted = request.json
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    namespace = wanted.get("organization") or request.user
    repo_id = f"{namespace}/{wanted['name']}"
    if wanted.get("type", "model") != "model":
        raise HubError(501, "the loopback hub keeps models only")
    if namespace != request.user or request.role != "write":
        raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    place = {"url": f"{hub.url}/{repo_id}", "name": repo_id}
    if repo_id in hub.repositories:
        reply = refusal(HubError(409, "You already created this model repo"))
        reply.body = json.dumps({"error": "You already created this model repo", **place}).encode()
        return reply
    repository = hub.store.create(repo_id, private=wanted.get("visibility") == "private" or bool(wanted.get("private")))
    return answer({**place, "id": repo_id, "private": repository.private})


def target(hub: LoopbackHub, request: Request, repo: str, revision: str) -> tuple[Repository, str, Commit]:
    """Where a push goes: the repository, the full name of the ref, and its tip.

    Who may read may open a pull request and push to their own; who may not write may do nothing else.
    """
    repository = readable(hub, request, repo)
    num = re.fullmatch(r"refs/pr/(\d+)", revision)
    own = num is not None and int(num[1]) in repository.pull_requests
    own = own and repository.pull_requests[int(num[1])].author == request.user
    if request.user is None or not (own or (request.flag("create_pr") and request.role == "write")):
        writable(hub, request, repo)
    ref = repository.ref(revision)
    if ref is None:
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return repository, ref, repository.refs[ref]


@route("POST", f"/api/models/{REPO}/preupload/{REVISION}")
def preupload(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    _, _, tip = target(hub, request, repo, revision)
    told = []
    for file in request.json["files"]:
        path, size = file["path"], file["size"]
        there = tip.files.get(path)
        told.append(
            {
                "path": path,
                "uploadMode": "lfs" if tip.needs_lfs(path, size, hub.store.lfs_threshold) else "regular",
                "shouldIgnore": False,
                "oid": there.etag if there else None,
            }
        )
    return answer({"files": told, "commitOid": tip.oid})


@route("POST", f"/api/models/{REPO}/commit/{REVISION}")
def commit(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    repository, ref, tip = target(hub, request, repo, revision)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    if not lines or lines[0]["key"] != "header":
        raise HubError(400, "the first line of a commit must be its header")
    header = lines[0]["value"]
    parent = header.get("parentCommit")
    as_pull = request.flag("create_pr")
    if parent and as_pull:
        tip = repository.at(parent)
    elif parent and not tip.oid.startswith(parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    changes = _changes(hub, tip, lines[1:])
    pull = _open_pull_request(repository, request) if as_pull else None
    if pull:
        ref = f"refs/pr/{pull.num}"
    author = request.user or ""
    title, message = header["summary"], header.get("description", "")
    made = hub.store.commit(repository, ref, changes, title=title, message=message, author=author, parent=tip)
    place = {"commitUrl": f"{hub.url}/{repo}/commit/{made.oid}", "commitOid": made.oid}
    if pull:
        place["pullRequestUrl"] = f"{hub.url}/{repo}/discussions/{pull.num}"
    return answer({"success": True, "hookOutput": "", **place})


def _changes(hub: LoopbackHub, tip: Commit, lines: list[dict[str, Any]]) -> dict[str, Blob | None]:
    """The operations of a commit, as the files to put (None: to delete)."""
    changes: dict[str, Blob | None] = {}
    for line in lines:
        value, path = line["value"], line["value"]["path"]
        if any(part in ("", ".", "..", ".git") for part in path.rstrip("/").split("/")):
            raise HubError(400, f"Invalid path: {path}")
        if line["key"] == "file":
            data = base64.b64decode(value["content"]) if value["encoding"] == "base64" else value["content"].encode()
            if len(data) > hub.store.lfs_threshold:
                raise HubError(400, f"{path} is too large for git: upload it as LFS")
            changes[path] = Blob(data)
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.store.objects:
                raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            changes[path] = Blob(hub.store.objects[value["oid"]], lfs=True)
        elif line["key"] == "deletedFile":
            if path not in tip.files:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            changes[path] = None
        else:
            raise HubError(501, f"the loopback hub does not know the operation {line['key']}")
    return changes


def _open_pull_request(repository: Repository, request: Request) -> PullRequest:
    pull = PullRequest(len(repository.pull_requests) + 1, request.user or "")
    repository.pull_requests[pull.num] = pull
    repository.refs[f"refs/pr/{pull.num}"] = repository.refs[MAIN]
    return pull


@route("POST", f"/api/models/{REPO}/branch/(?P<name>[^/]+)")
def make_branch(hub: LoopbackHub, request: Request, repo: str, name: str) -> Reply:
    repository = writable(hub, request, repo)
    ref = f"refs/heads/{name}"
    if ref in repository.refs:
        raise HubError(409, f"Reference already exists: {ref}")
    repository.refs[ref] = repository.at(request.json.get("startingPoint", "main"))
    return answer({})
