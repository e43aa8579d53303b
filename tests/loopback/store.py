"""What the hub keeps: repositories, their commits and their files. It knows neither HTTP nor JSON."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from functools import cached_property

MAIN = "refs/heads/main"
GITATTRIBUTES = "".join(
    f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n"
    for kind in ("bin", "gguf", "h5", "npy", "npz", "onnx", "parquet", "pt", "pth", "safetensors", "zip")
).encode()


class HubError(Exception):
    """A refusal: the status, the code that the client reads in X-Error-Code, and the message."""

    def __init__(self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers or {}


def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Blob:
    """The content of a file, kept in git or, for `lfs`, in the storage with a pointer in git."""

    data: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        ).encode()

    @cached_property
    def git_id(self) -> str:
        return git_blob_id(self.pointer if self.lfs else self.data)

    @property
    def etag(self) -> str:
        """What identifies the content for a client: the sha256 of a large file, the git id of another."""
        return self.sha256 if self.lfs else self.git_id


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: Commit | None
    files: Mapping[str, Blob]
    title: str
    message: str
    author: str
    date: datetime

    def history(self) -> Iterator[Commit]:
        """This commit and those before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def needs_lfs(self, path: str, size: int, threshold: int) -> bool:
        """Whether a file of this name and size goes to the storage: too large for git, or named in .gitattributes."""
        attributes = self.files.get(".gitattributes", Blob(b"")).data.decode()
        patterns = [line.split()[0] for line in attributes.splitlines() if "filter=lfs" in line]
        name = path.rsplit("/", 1)[-1]
        return size > threshold or any(fnmatch(path if "/" in pattern else name, pattern) for pattern in patterns)


@dataclass
class PullRequest:
    num: int
    author: str


@dataclass
class Repository:
    """A model repository. `refs` names the tip of each branch and pull request."""

    id: str
    created: datetime
    private: bool = False
    gated: str | bool = False
    downloads: int = 0
    likes: int = 0
    tags: tuple[str, ...] = ()
    last_modified: datetime | None = None
    readers: set[str] = field(default_factory=set)
    refs: dict[str, Commit] = field(default_factory=dict)
    pull_requests: dict[int, PullRequest] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    @property
    def commits(self) -> list[Commit]:
        """The commits of main, newest first."""
        return list(self.refs[MAIN].history())

    def ref(self, revision: str) -> str | None:
        """The full name of a branch or pull request."""
        names = (revision, f"refs/heads/{revision}")
        return next((name for name in names if name in self.refs), None)

    def at(self, revision: str = "main") -> Commit:
        """The commit that a branch, pull request, or hash (from 7 digits) stands for."""
        name = self.ref(revision)
        if name is not None:
            return self.refs[name]
        if re.fullmatch("[0-9a-f]{7,40}", revision):
            for tip in self.refs.values():
                for commit in tip.history():
                    if commit.oid.startswith(revision):
                        return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """The content of every file at a revision."""
        return {path: blob.data for path, blob in self.at(revision).files.items()}


class Store:
    """All repositories and the objects of the storage. Not locked: the hub holds its lock around each use."""

    def __init__(self, *, lfs_threshold: int) -> None:
        self.lfs_threshold = lfs_threshold
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self._ticks = 0

    def now(self) -> datetime:
        """A clock that moves one second each time it is read, so that every run writes the same dates."""
        self._ticks += 1
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._ticks)

    def create(self, repo_id: str, **settings: object) -> Repository:
        repository = Repository(repo_id, self.now(), **settings)  # type: ignore[arg-type]
        self.repositories[repo_id] = repository
        first = {".gitattributes": Blob(GITATTRIBUTES)}
        repository.refs[MAIN] = self._commit(None, first, "initial commit", "", repository.owner)
        return repository

    def blob(self, commit: Commit, path: str, data: bytes) -> Blob:
        """A file as it would be kept at this place."""
        blob = Blob(data, commit.needs_lfs(path, len(data), self.lfs_threshold) and len(data) > 0)
        if blob.lfs:
            self.objects[blob.sha256] = data
        return blob

    def commit(
        self,
        repository: Repository,
        ref: str,
        changes: Mapping[str, Blob | None],
        *,
        title: str,
        message: str = "",
        author: str,
        parent: Commit | None = None,
    ) -> Commit:
        """Put changes (None: delete) on the tip of a ref, or on `parent`, and move the ref there."""
        parent = parent or repository.refs[ref]
        files = {path: blob for path, blob in {**parent.files, **changes}.items() if blob is not None}
        repository.refs[ref] = self._commit(parent, files, title, message, author)
        return repository.refs[ref]

    def _commit(
        self, parent: Commit | None, files: Mapping[str, Blob], title: str, message: str, author: str
    ) -> Commit:
        date = self.now()
        tree = sorted((path, blob.git_id) for path, blob in files.items())
        text = repr((parent and parent.oid, tree, title, message, author, date))
        return Commit(hashlib.sha1(text.encode()).hexdigest(), parent, dict(files), title, message, author, date)
