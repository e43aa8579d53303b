"""The hub that a test holds in its hands: what it keeps, what it was asked, and what shall go wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from datetime import datetime

from . import large_files, reading, writing  # noqa: F401 (for the routes that they register)
from .faults import Faults
from .routing import Request
from .server import Server
from .store import Commit, Repository, Store


class LoopbackHub(Faults):
    """A hub that listens on the loopback while the context lasts.

    Files above `lfs_threshold` bytes, and those that .gitattributes names, go to the storage. A list of models has at
    most `page_size` of them a page.
    """

    def __init__(self, *, lfs_threshold: int = 10 << 20, page_size: int = 1000) -> None:
        super().__init__()
        self.store = Store(lfs_threshold=lfs_threshold)
        self.page_size = page_size
        self.tokens: dict[str, tuple[str, str]] = {}
        self.log: list[Request] = []
        self.errors: list[Exception] = []
        self.lock = threading.RLock()
        """Held while a request is looked at, so that two pushes come one after the other."""

    def __enter__(self) -> LoopbackHub:
        self._servers = [Server(self, "hub"), Server(self, "storage")]
        # Two names of one host, as the storage is another host to every version of the client.
        names = ("127.0.0.1", "localhost")
        self.url, self.storage_url = (
            f"http://{name}:{server.server_port}" for name, server in zip(names, self._servers, strict=True)
        )
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.stop()
        if self.errors:
            raise ExceptionGroup("in the loopback hub", self.errors)

    @property
    def repositories(self) -> dict[str, Repository]:
        return self.store.repositories

    @property
    def requests(self) -> list[Request]:
        """What has been asked so far, in the order of arrival."""
        return list(self.log)

    def token(self, user: str, *, role: str = "write") -> str:
        """A token of a user, who may write under their own name; with the role "read", nowhere."""
        token = f"hf_{user}_{role}"
        self.tokens[token] = (user, role)
        return token

    def create(
        self,
        repo_id: str,
        files: Mapping[str, bytes] | None = None,
        *,
        private: bool = False,
        gated: str | bool = False,
        downloads: int = 0,
        likes: int = 0,
        last_modified: datetime | None = None,
        tags: tuple[str, ...] = (),
    ) -> Repository:
        """Plant a repository, without a client. `gated` is False, "auto" or "manual"; `tags` come before the card's."""
        with self.lock:
            settings = {"private": private, "gated": gated, "downloads": downloads, "likes": likes, "tags": tags}
            repository = self.store.create(repo_id, last_modified=last_modified, **settings)
            if files:
                self.commit(repo_id, files, title="Plant")
            return repository

    def commit(
        self, repo_id: str, files: Mapping[str, bytes | None], *, revision: str = "main", title: str = "Edited online"
    ) -> Commit:
        """Commit files (None: delete), without a client, as someone does on the site."""
        with self.lock:
            repository = self.repositories[repo_id]
            tip = repository.at(revision)
            blobs = {path: None if data is None else self.store.blob(tip, path, data) for path, data in files.items()}
            return self.store.commit(repository, repository.ref(revision), blobs, title=title, author=repository.owner)

    def grant(self, repo_id: str, user: str) -> None:
        """Let a user into a private or gated repository."""
        self.repositories[repo_id].readers.add(user)

    def sign(self, oid: str) -> str:
        """What a link into the storage must carry, as there is no token there."""
        return hashlib.sha256(f"{self.url}{oid}".encode()).hexdigest()[:16]
