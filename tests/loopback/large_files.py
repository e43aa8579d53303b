"""Git LFS: where large files are put, and the storage that they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .routing import REPO, Reply, Request, answer, readable, route
from .store import Blob, HubError

if TYPE_CHECKING:
    from .hub import LoopbackHub


@route("POST", f"/{REPO}\\.git/info/lfs/objects/batch")
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
            upload = {"href": f"{hub.storage_url}/uploads/{signed}"}
            verify = {"href": f"{hub.url}/{repo}.git/info/lfs/objects/verify"}
            entry["actions"] = {"upload": upload, "verify": verify}
        told.append(entry)
    return answer({"transfer": "basic", "objects": told, "hash_algo": "sha256"})


def _signed(hub: LoopbackHub, request: Request, oid: str) -> None:
    if request.query.get("signature") != [hub.sign(oid)]:
        raise HubError(403, "the signature does not fit")


@route("PUT", "/uploads/(?P<oid>[0-9a-f]{64})", "storage")
def upload(hub: LoopbackHub, request: Request, oid: str) -> Reply:
    """Take what comes, as a storage does; whether it is what was announced is seen afterwards."""
    _signed(hub, request, oid)
    hub.store.uploads[oid] = request.body
    return Reply(200, b"", {"ETag": f'"{Blob(request.body).git_id}"'})


@route("POST", f"/{REPO}\\.git/info/lfs/objects/verify")
def lfs_verify(hub: LoopbackHub, request: Request, repo: str) -> Reply:
    """Keep an uploaded object when it is what was announced."""
    readable(hub, request, repo)
    oid = request.json["oid"]
    data = hub.store.uploads.pop(oid, b"")
    blob = Blob(data)
    if blob.sha256 != oid or len(data) != request.json["size"]:
        raise HubError(400, f"the uploaded object is not {oid}: {len(data)} bytes with sha256 {blob.sha256}")
    hub.store.objects[oid] = data
    return answer({})


@route("GET HEAD", "/objects/(?P<oid>[0-9a-f]{64})/.+", "storage")
def download(hub: LoopbackHub, request: Request, oid: str) -> Reply:
    _signed(hub, request, oid)
    return Reply(200, hub.store.objects[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"}, file=True)
