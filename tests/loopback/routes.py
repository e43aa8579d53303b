"""The Hub's protocol: one function a route, from a request to a reply. It knows no sockets."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode

from . import cards, views
from .store import MAIN, Blob, Commit, HubError, PullRequest, Repository

if TYPE_CHECKING:
    from .server import LoopbackHub


@dataclass
class Request:
    """What was asked, and what became of it.

    `path` is decoded and has no query; `query` has a list for each name; `server` is "hub" or "storage"; `user` is
    None without a token; `status` is 0 when no answer was given; `received` and `sent` count the bytes of the bodies.
    """

    server: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    raw_path: str
    user: str | None = None
    role: str | None = None
    status: int = 0
    received: int = 0
    sent: int = 0
    body: bytes = field(default=b"", repr=False)

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body or b"{}")
        except ValueError as problem:
            raise HubError(400, f"the body is not JSON: {problem}") from None

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["false"])[0].lower() in ("1", "true")


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    file: bool = False
    """Whether the body is the content of a file, which a Range may cut and a fault may spoil."""


def answer(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})


def refusal(error: HubError) -> Reply:
    """The reply for a refusal, with the headers that the client tells them apart by."""
    reply = answer({"error": error.message}, error.status)
    reply.headers |= {"X-Error-Message": error.message, **error.headers}
    if error.code:
        reply.headers["X-Error-Code"] = error.code
    return reply


LISTED = "_id id modelId likes downloads private tags createdAt library_name pipeline_tag trendingScore"
LISTED_IN_FULL = "author sha lastModified gated disabled siblings"

Route = Callable[..., Reply]
_ROUTES: dict[str, list[tuple[str, re.Pattern[str], Route]]] = {"hub": [], "storage": []}
_REPO = "(?P<repo>[^/]+/[^/]+)"
_REV = "(?P<revision>[^/]+)"


def route(methods: str, path: str, server: str = "hub") -> Callable[[Route], Route]:
    """Register a function for paths that match a regular expression; its groups become arguments, decoded."""

    def register(function: Route) -> Route:
        for method in methods.split():
            _ROUTES[server].append((method, re.compile(path), function))
        return function

    return register


def dispatch(hub: LoopbackHub, request: Request) -> Reply:
    """The reply to a request."""
    for method, pattern, function in _ROUTES[request.server]:
        found = pattern.fullmatch(request.raw_path) if method == request.method else None
        if found:
            try:
                if request.user is None and "authorization" in request.headers and request.server == "hub":
                    raise HubError(401, "Invalid credentials in Authorization header")
                return function(hub, request, **{name: unquote(text or "") for name, text in found.groupdict().items()})
            except HubError as error:
                return refusal(error)
    # A status that the client neither retries nor takes for "not there".
    return refusal(HubError(501, f"the loopback hub does not speak {request.method} {request.path}"))


def readable(hub: LoopbackHub, request: Request, repo: str) -> Repository:
    """A repository that the user may see. One that is hidden and one that is not there look the same."""
    repository = hub.repositories.get(repo)
    if repository is None or (repository.private and request.user not in {repository.owner, *repository.readers}):
        if request.user is None:
            raise HubError(401, "Invalid username or password.", "RepoNotFound")
        raise HubError(404, "Repository not found", "RepoNotFound")
    return repository


def may_write(request: Request, repository: Repository) -> bool:
    return request.user == repository.owner and request.role == "write"


def writable(hub: LoopbackHub, request: Request, repo: str) -> Repository:
    """A repository that the user may push to."""
    repository = readable(hub, request, repo)
    if request.user is None:
        raise HubError(401, "Invalid username or password.")
    if not may_write(request, repository):
        hint = "pass `create_pr=1` as a query parameter to create a Pull Request"
        raise HubError(403, f"Forbidden: {hint}")
    return repository


def check_gate(request: Request, repository: Repository) -> None:
    """Refuse the files of a gated repository to who has not been let in."""
    if repository.gated and request.user not in {repository.owner, *repository.readers}:
        restricted = f"Access to model {repository.id} is restricted"
        if request.user is None:
            raise HubError(401, f"{restricted}. You must be authenticated to access it.", "GatedRepo")
        raise HubError(403, f"{restricted} and you are not in the authorized list.", "GatedRepo")


# --------------------------------------------------------------------------------------- users and repositories


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


@route("DELETE", "/api/repos/delete")
def delete_repository(hub: LoopbackHub, request: Request) -> Reply:
    wanted = request.json
    repository = writable(hub, request, f"{wanted.get('organization') or request.user}/{wanted['name']}")
    del hub.repositories[repository.id]
    return answer({})


@route("GET", f"/api/models/{_REPO}(/revision/{_REV})?")
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


@route("GET", f"/api/models/{_REPO}/auth-check")
def auth_check(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    check_gate(request, readable(hub, request, repo))
    return answer({})


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


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: LoopbackHub, request: Request) -> Reply:
    errors, warnings = cards.complaints(request.json["content"])
    found = {
        name: [{"message": line} for line in lines] for name, lines in (("errors", errors), ("warnings", warnings))
    }
    return answer(found, 400 if errors else 200)


# ------------------------------------------------------------------------------------------------------ reading


@route("GET", f"/api/models/{_REPO}/tree/{_REV}(/(?P<path>.+))?")
def tree(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str) -> Reply:
    commit = readable(hub, request, repo).at(revision)
    if path and path not in views.folders(commit):
        raise HubError(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
    return answer(views.tree(commit, path, recursive=request.flag("recursive"), expand=request.flag("expand")))


@route("POST", f"/api/models/{_REPO}/paths-info/{_REV}")
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


@route("GET", f"/api/models/{_REPO}/commits/{_REV}")
def commits(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    return answer([views.commit_entry(commit) for commit in readable(hub, request, repo).at(revision).history()])


@route("GET", f"/api/models/{_REPO}/refs")
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


@route("GET HEAD", f"/{_REPO}/resolve/{_REV}/(?P<path>.+)")
def resolve(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str) -> Reply:
    repository = readable(hub, request, repo)
    check_gate(request, repository)
    commit = repository.at(revision)
    if hub.take_for("stale", request):
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


# ------------------------------------------------------------------------------------------------------ writing


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


@route("POST", f"/api/models/{_REPO}/preupload/{_REV}")
def preupload(hub: LoopbackHub, request: Request, repo: str, revision: str) -> Reply:
    _, _, tip = target(hub, request, repo, revision)
    ignored = request.json.get("gitIgnore") or tip.files.get(".gitignore", Blob(b"")).data.decode()
    patterns = [line.strip() for line in ignored.splitlines() if line.strip() and not line.startswith("#")]
    told = []
    for file in request.json["files"]:
        path, size = file["path"], file["size"]
        there = tip.files.get(path)
        told.append(
            {
                "path": path,
                "uploadMode": "lfs" if tip.needs_lfs(path, size, hub.store.lfs_threshold) else "regular",
                "shouldIgnore": any(fnmatch(path, line) or fnmatch(path.split("/")[-1], line) for line in patterns),
                "oid": there.etag if there else None,
            }
        )
    return answer({"files": told, "commitOid": tip.oid})


@route("POST", f"/api/models/{_REPO}/commit/{_REV}")
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
    pull = _open_pull_request(hub, repository, request, header, status="open") if as_pull else None
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
        elif line["key"] in ("deletedFile", "deletedFolder"):
            folder = path.rstrip("/") + "/"
            gone = [name for name in tip.files if name == path or name.startswith(folder)]
            if not gone:
                raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
            changes |= dict.fromkeys(gone)
        else:
            raise HubError(501, f"the loopback hub does not know the operation {line['key']}")
    return changes


def _open_pull_request(
    hub: LoopbackHub, repository: Repository, request: Request, header: dict[str, Any], *, status: str
) -> PullRequest:
    num = len(repository.pull_requests) + 1
    title, told = header.get("title") or header.get("summary") or "", header.get("description", "")
    pull = PullRequest(num, title, told, request.user or "", status, hub.store.now())
    repository.pull_requests[num] = pull
    repository.refs[f"refs/pr/{num}"] = repository.refs[MAIN]
    return pull


@route("POST", f"/api/models/{_REPO}/(?P<kind>branch|tag)/(?P<name>[^/]+)")
def make_ref(hub: LoopbackHub, request: Request, repo: str, kind: str, name: str) -> Reply:
    """A branch has its name in the path and its start in the body; a tag the other way round."""
    repository = writable(hub, request, repo)
    ref = f"refs/heads/{name}" if kind == "branch" else f"refs/tags/{request.json['tag']}"
    start = request.json.get("startingPoint", "main") if kind == "branch" else name
    if ref in repository.refs:
        raise HubError(409, f"Reference already exists: {ref}")
    repository.refs[ref] = repository.at(start)
    return answer({})


@route("DELETE", f"/api/models/{_REPO}/(?P<kind>branch|tag)/(?P<name>[^/]+)")
def delete_ref(hub: LoopbackHub, request: Request, repo: str, kind: str, name: str) -> Reply:
    repository = writable(hub, request, repo)
    ref = f"refs/{'heads' if kind == 'branch' else 'tags'}/{name}"
    if ref == MAIN or ref not in repository.refs:
        raise HubError(404, f"Invalid rev id: {name}", "RevisionNotFound")
    del repository.refs[ref]
    return answer({})


@route("POST", f"/api/models/{_REPO}/discussions")
def open_discussion(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    repository = readable(hub, request, repo)
    if request.user is None or request.role != "write":
        raise HubError(403, "this token may not open a discussion")
    if not request.json.get("pullRequest"):
        raise HubError(501, "the loopback hub keeps pull requests, no discussions")
    pull = _open_pull_request(hub, repository, request, request.json, status="draft")
    return answer({"num": pull.num, "url": f"{hub.url}/{repo}/discussions/{pull.num}", "pullRequest": True})


@route("GET", f"/api/models/{_REPO}/discussions(/(?P<num>[0-9]+))?")
def discussions(hub: LoopbackHub, request: Request, repo: str, num: str) -> Reply:
    repository = readable(hub, request, repo)
    if not num:
        found = [views.pull_request(repository, pull, details=False) for pull in repository.pull_requests.values()]
        return answer({"discussions": found[::-1], "count": len(found), "start": 0})
    if int(num) not in repository.pull_requests:
        raise HubError(404, "Discussion not found")
    return answer(views.pull_request(repository, repository.pull_requests[int(num)], details=True))


# ---------------------------------------------------------------------------------------------------- large files


@route("POST", f"/{_REPO}\\.git/info/lfs/objects/batch")
def lfs_batch(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    """Where to put each object. Who may read may upload: the object is nothing until a commit names it."""
    readable(hub, request, repo)
    if request.user is None or request.role != "write":
        raise HubError(403, "this token may not upload")
    told = []
    for wanted in request.json["objects"]:
        oid, size = wanted["oid"], wanted["size"]
        entry: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
        if oid not in hub.store.objects:
            signed = f"{oid}?signature={hub.sign(oid)}"
            upload: dict[str, Any] = {"href": f"{hub.storage_url}/uploads/{signed}"}
            if size > hub.part_size and "multipart" in request.json["transfers"]:
                parts = -(-size // hub.part_size)
                header = {
                    str(i): f"{hub.storage_url}/uploads/{oid}/{i}?signature={hub.sign(oid)}"
                    for i in range(1, parts + 1)
                }
                upload = {
                    "href": f"{hub.url}/api/complete_multipart/{signed}",
                    "header": {"chunk_size": str(hub.part_size), **header},
                }
            verify = {"href": f"{hub.url}/{repo}.git/info/lfs/objects/verify"}
            entry["actions"] = {"upload": upload, "verify": verify}
        told.append(entry)
    many = any("chunk_size" in entry.get("actions", {}).get("upload", {}).get("header", {}) for entry in told)
    return answer({"transfer": "multipart" if many else "basic", "objects": told, "hash_algo": "sha256"})


def _signed(hub: LoopbackHub, request: Request, oid: str) -> None:
    if request.query.get("signature") != [hub.sign(oid)]:
        raise HubError(403, "the signature does not fit")


@route("PUT", "/uploads/(?P<oid>[0-9a-f]{64})(/(?P<part>[0-9]+))?", "storage")
def upload(hub: LoopbackHub, request: Request, oid: str, part: str) -> Reply:
    """Take what comes, as a storage does; whether it is what was announced is seen afterwards."""
    _signed(hub, request, oid)
    hub.uploads.setdefault(oid, {})[int(part or 1)] = request.body
    return Reply(200, b"", {"ETag": f'"{Blob(request.body).git_id}"'})


@route("POST", "/api/complete_multipart/(?P<oid>[0-9a-f]{64})")
def complete_multipart(hub: LoopbackHub, request: Request, oid: str) -> Reply:
    _signed(hub, request, oid)
    parts = hub.uploads.get(oid, {})
    listed = {part["partNumber"]: part["etag"] for part in request.json["parts"]}
    if listed != {number: f'"{Blob(data).git_id}"' for number, data in parts.items()}:
        raise HubError(400, "the parts are not those that were uploaded")
    return answer({"success": True})


@route("POST", f"/{_REPO}\\.git/info/lfs/objects/verify")
def lfs_verify(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    """Keep an uploaded object when it is what was announced."""
    readable(hub, request, repo)
    oid = request.json["oid"]
    data = b"".join(body for _, body in sorted(hub.uploads.pop(oid, {}).items()))
    blob = Blob(data)
    if blob.sha256 != oid or len(data) != request.json["size"]:
        raise HubError(400, f"the uploaded object is not {oid}: {len(data)} bytes with sha256 {blob.sha256}")
    hub.store.objects[oid] = data
    return answer({})


@route("GET HEAD", "/objects/(?P<oid>[0-9a-f]{64})/.+", "storage")
def download(hub: LoopbackHub, request: Request, oid: str) -> Reply:
    _signed(hub, request, oid)
    return Reply(200, hub.store.objects[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}, file=True)
