"""What can be asked of the hub without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from . import cards, views
from .routing import REPO, REVISION, Reply, Request, answer, check_gate, readable, route
from .store import HubError

if TYPE_CHECKING:
    from .hub import LoopbackHub


@route("GET", f"/api/models/{REPO}(/revision/{REVISION})?")
def info(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    repository = readable(hub, request, repo)
    everything = views.repository_info(repository, repository.at(revision or "main"), blobs=request.flag("blobs"))
    if "expand" in request.query:
        return answer(_expanded(everything, request.query["expand"]))
    del everything["downloadsAllTime"], everything["trendingScore"]
    return answer(everything)


def _expanded(everything: dict[str, Any], names: list[str]) -> dict[str, Any]:
    return {name: everything[name] for name in ("_id", "id", *names) if name in everything}


@route("GET", "/api/models")
def list_models(hub: LoopbackHub, request: Request) -> Reply:
    def one(name: str, default: str) -> str:
        return request.query.get(name, [default])[0]

    shown = []
    for repository in hub.repositories.values():
        visible = not repository.private or request.user in {repository.owner, *repository.readers}
        about = views.repository_info(repository, repository.at())
        matches = set(request.query.get("filter", [])) <= set(about["tags"])
        matches &= one("search", "").lower() in repository.id.lower()
        if visible and matches:
            shown.append(about)
    key = one("sort", "trendingScore")
    if shown and key not in shown[0]:
        raise HubError(400, f'"sort" cannot be "{key}"')
    shown.sort(key=lambda about: about[key], reverse=True)

    start, size = int(one("cursor", "0")), min(int(one("limit", "1000")), hub.page_size)
    page = shown[start : start + size]
    reply = answer([_expanded(about, request.query.get("expand", list(about))) for about in page])
    if start + size < len(shown):
        query = urlencode({**request.query, "cursor": [str(start + size)]}, doseq=True)
        reply.headers["Link"] = f'<{hub.url}/api/models?{query}>; rel="next"'
    return reply


@route("GET HEAD", f"/{REPO}/resolve/{REVISION}/(?P<path>.+)")
def resolve(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str) -> Reply:
    repository = readable(hub, request, repo)
    check_gate(request, repository)
    commit = repository.at(revision)
    if hub.take("stale", request):
        commit = commit.parent or commit
    blob = commit.files.get(path)
    which = {"X-Repo-Commit": commit.oid}
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", which)
    if not blob.lfs:
        return Reply(200, blob.data, {**which, "ETag": f'"{blob.git_id}"', "Accept-Ranges": "bytes"}, file=True)
    linked = {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data)), "Accept-Ranges": "bytes"}
    place = f"{hub.storage_url}/objects/{blob.sha256}/{quote(path)}?signature={hub.sign(blob.sha256)}"
    return Reply(302, f"Found. Redirecting to {place}".encode(), {**which, **linked, "Location": place})


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: LoopbackHub, request: Request) -> Reply:
    errors, warnings = cards.complaints(request.json["content"])
    found = {
        name: [{"message": line} for line in lines] for name, lines in (("errors", errors), ("warnings", warnings))
    }
    return answer(found, 400 if errors else 200)
