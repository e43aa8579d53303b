"""What can be asked of the hub without changing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

from . import cards, views
from .routing import REPO, REVISION, Reply, Request, answer, check_gate, readable, route
from .store import HubError

if TYPE_CHECKING:
    from .hub import LoopbackHub

LISTED = "_id id modelId likes downloads private tags createdAt library_name pipeline_tag trendingScore"
LISTED_IN_FULL = "author sha lastModified gated disabled siblings"


@route("GET", "/api/whoami-v2")
def whoami(hub: LoopbackHub, request: Request) -> Reply:
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    token = {"displayName": "test", "role": request.role}
    return answer(
        {
            "type": "user",
            "id": f"{len(request.user):024x}",
            "name": request.user,
            "fullname": request.user.title(),
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@route("GET", f"/api/models/{REPO}/auth-check")
def auth_check(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    check_gate(request, readable(hub, request, repo))
    return answer({})


@route("GET", f"/api/models/{REPO}(/revision/{REVISION})?")
def info(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    repository = readable(hub, request, repo)
    everything = views.repository_info(repository, repository.at(revision or "main"), blobs=request.flag("blobs"))
    if "expand" in request.query:
        return answer(_expanded(everything, request.query["expand"]))
    if request.flag("securityStatus"):
        everything["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
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
        matches &= one("author", repository.owner) == repository.owner
        matches &= one("search", "").lower() in repository.id.lower()
        if visible and matches:
            shown.append(about)
    key = one("sort", "trendingScore")
    if shown and key not in shown[0]:
        raise HubError(400, f'"sort" cannot be "{key}"')
    shown.sort(key=lambda about: about[key], reverse=True)

    start, size = int(one("cursor", "0")), min(int(one("limit", "1000")), hub.page_size)
    page = shown[start : start + size]
    if "expand" in request.query:
        items = [_expanded(about, request.query["expand"]) for about in page]
    else:
        names = LISTED.split()
        names += LISTED_IN_FULL.split() if request.flag("full") else []
        names += ["cardData"] if request.flag("cardData") else []
        items = [{name: about[name] for name in names if name in about} for about in page]
    reply = answer(items)
    if start + size < len(shown):
        query = urlencode({**request.query, "cursor": [str(start + size)]}, doseq=True)
        reply.headers["Link"] = f'<{hub.url}/api/models?{query}>; rel="next"'
    return reply


@route("GET", f"/api/models/{REPO}/tree/{REVISION}(/(?P<path>.+))?")
def tree(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str) -> Reply:
    commit = readable(hub, request, repo).at(revision)
    if path and path not in views.folders(commit):
        raise HubError(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
    return answer(views.tree(commit, path, recursive=request.flag("recursive"), expand=request.flag("expand")))


@route("POST", f"/api/models/{REPO}/paths-info/{REVISION}")
def paths_info(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    commit = readable(hub, request, repo).at(revision)
    wanted = parse_qs(request.body.decode())
    expand = wanted.get("expand", ["false"])[0].lower() == "true"
    found = []
    for path in (path.strip("/") for path in wanted.get("paths", [])):
        if path in commit.files:
            found.append(views.file_entry(commit, path, expand=expand))
        elif path in views.folders(commit):
            found.append(views.folder_entry(commit, path, expand=expand))
    return answer(found)


@route("GET", f"/api/models/{REPO}/commits/{REVISION}")
def commits(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    return answer([views.commit_entry(commit) for commit in readable(hub, request, repo).at(revision).history()])


@route("GET", f"/api/models/{REPO}/refs")
def refs(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    repository = readable(hub, request, repo)

    def below(start: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(start), "ref": ref, "targetCommit": commit.oid}
            for ref, commit in repository.refs.items()
            if ref.startswith(start)
        ]

    found = {"branches": below("refs/heads/"), "tags": below("refs/tags/"), "converts": []}
    if request.flag("include_prs"):
        found["pullRequests"] = below("refs/pr/")
    return answer(found)


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
