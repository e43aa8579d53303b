"""Getting vectors from the Hub.

What comes from there is a stranger's. Only files of known names are asked for, once their sizes have been looked at and
all of one commit; nothing in them is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from emosteer.config import is_repo_id
from emosteer.errors import HubError
from emosteer.format import CONFIG_FILE, LIMITS, VECTORS_FILE, VectorFile
from emosteer.hub.client import check_names, client, told

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile

BLOCK = 2**14  # bytes: what is read beyond what was asked for, so that small reads that follow are there already

__all__ = ["Repository", "is_remote"]


@dataclass(frozen=True)
class Repository:
    """A set of vectors on the Hub, at one commit.

    Args:
        name: `user/name`.
        commit: Hash of the commit that every file is taken from.
        subfolder: Where the set is in the repository.
        token: As for `huggingface_hub`.
        local_files_only: Take files from the cache and ask nothing of the Hub.
    """

    name: str
    commit: str
    subfolder: str | None = None
    token: str | bool | None = None
    local_files_only: bool = False

    @classmethod
    def at(
        cls,
        name: str,
        *,
        subfolder: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Repository:
        """A repository at the commit that a revision is now, or was when the Hub could last be reached.

        Raises:
            HubError: There is no such repository or revision, or it cannot be seen.
            InputError: The name cannot be one.
        """
        check_names(name, subfolder)
        with told(name):
            commit = client(token).resolve_revision(name, revision=revision, local_files_only=local_files_only).resolved
        return cls(name, commit, subfolder, token, local_files_only)

    @contextmanager
    def opened(self, *, whole: bool = True) -> Iterator[VectorFile]:
        """Open the vector file: from the cache, after a download, or on the Hub itself.

        Args:
            whole: Download it; else, if it is not in the cache, only what is read of it is fetched, and not kept.

        Raises:
            FormatError: It is damaged, foreign or of a later version.
            HubError: The Hub does not give it.
        """
        if whole or self.local_files_only or self._cached(VECTORS_FILE):
            with VectorFile.open(self.fetch((VECTORS_FILE, CONFIG_FILE)), self._shown) as file:
                yield file
            return
        config = (self.fetch((CONFIG_FILE,)) / CONFIG_FILE).read_bytes()
        sent = self._found((VECTORS_FILE,)).get(VECTORS_FILE)
        if sent is None:
            raise HubError(f"{self._shown} has no {VECTORS_FILE} at this commit.", "It holds no emotion vectors.")
        with told(self.name), self._stream(VECTORS_FILE, sent.size) as stream:
            yield VectorFile.over(stream, sent.size, self._shown, config)

    def fetch(self, names: Sequence[str], optional: Sequence[str] = ()) -> Path:
        """Download files into the Hub client's cache, those that are not there yet.

        Args:
            names: As in `LIMITS`.
            optional: Those that may be missing.

        Returns:
            The folder that holds them.

        Raises:
            HubError: A file is missing, too large, or did not arrive as it was sent; the Hub does not give it.
        """
        missing = [name for name in (*names, *optional) if not self._cached(name)]
        sent = self._found(missing) if missing and not self.local_files_only else {}
        for name in missing:
            if name in sent:
                self._download(name, sent[name])
            elif self.local_files_only and name in names:
                self._download(name)  # which says that it is not in the cache
            elif name in names:
                raise HubError(
                    f"{self._shown} has no {name} at this commit.",
                    "It holds no emotion vectors, or they are in a subfolder.",
                )
        return Path(cast("str", self._cached(names[0]))).parent

    def _download(self, name: str, sent: RepoFile | None = None) -> None:
        """Into the cache, where only what arrived as it was sent stays."""
        from huggingface_hub import hf_hub_download

        for again in (False, True):
            with told(self.name):
                path = hf_hub_download(
                    self.name,
                    self._path(name),
                    revision=self.commit,
                    token=self.token,
                    force_download=again,
                    local_files_only=self.local_files_only,
                )
            # A server that is behind may answer for another commit, which the client then takes for this one.
            if path == self._cached(name) and (sent is None or _as_sent(Path(path), sent)):
                return
            Path(path).resolve().unlink()
            Path(path).unlink(missing_ok=True)
            kept = next(folder.parent for folder in Path(path).parents if folder.name == "snapshots")
            (kept / "refs" / self.commit).unlink(missing_ok=True)
        raise HubError(
            f"{name} of {self._shown} did not arrive as it was sent, twice.", "Nothing of it was kept: try again later."
        )

    @property
    def _shown(self) -> str:
        return f"{self.name}/{self.subfolder}" if self.subfolder else self.name

    def _path(self, name: str) -> str:
        return f"{self.subfolder}/{name}" if self.subfolder else name

    def _cached(self, name: str) -> str | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.name, self._path(name), revision=self.commit)
        return found if isinstance(found, str) else None

    def _found(self, names: Sequence[str]) -> dict[str, RepoFile]:
        """What the Hub says of those files that it has.

        Raises:
            HubError: One is larger than any such file.
        """
        from huggingface_hub.hf_api import RepoFile

        paths = {self._path(name): name for name in names}
        with told(self.name):
            infos = client(self.token).get_paths_info(self.name, list(paths), revision=self.commit)
        found = {paths[info.path]: info for info in infos if isinstance(info, RepoFile) and info.path in paths}
        for name, info in found.items():
            if info.size > LIMITS[name]:
                raise HubError(
                    f"{name} of {self._shown} has {info.size:,} bytes, no such file has more than {LIMITS[name]:,}.",
                    "It was not downloaded.",
                )
        return found

    @contextmanager
    def _stream(self, name: str, size: int) -> Iterator[BinaryIO]:
        """A file on the Hub, of which only what is read is fetched."""
        from huggingface_hub import HfFileSystem

        # An instance of our own: those that are shared remember what they saw.
        files = HfFileSystem(token=self.token, skip_instance_cache=True)
        with files.open(f"{self.name}@{self.commit}/{self._path(name)}", "rb", block_size=BLOCK, size=size) as stream:
            yield stream


def is_remote(source: str | Path) -> bool:
    """Is this the name of a repository on the Hub, and not of something here?

    Args:
        source: As a caller gave it.
    """
    text = str(source)
    return isinstance(source, str) and text.count("/") == 1 and is_repo_id(text) and not Path(text).exists()


def _as_sent(path: Path, sent: RepoFile) -> bool:
    """Are these the bytes that the Hub has? It names a large file by its sha256 and others as git does."""
    if path.stat().st_size != sent.size:
        return False
    content = path.read_bytes()
    if sent.lfs is not None:
        return hashlib.sha256(content).hexdigest() == sent.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == sent.blob_id
