"""Getting vectors from the Hub.

A repository is a stranger's: only files with known names are fetched, after a look at their sizes and all from one
commit, and nothing in them is run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from emosteer._util.layout import LIMITS
from emosteer._util.names import is_repo_id
from emosteer._util.text import checked
from emosteer.errors import FormatError, HubError
from emosteer.hub.client import AwayError, away, check_names, client, hub_errors
from emosteer.hub.ranges import Ranges

_ETAG = re.compile(r"[\w-][\w.-]{0,127}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
COMMIT = re.compile(r"[0-9a-f]{40}")

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
    token: str | bool | None = field(default=None, repr=False)
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
        """Return a repository at the commit of a revision, as of now or of the last time the Hub was reached.

        Raises:
            HubError: There is no such repository or revision, or it is not visible.
            InputError: The name cannot be one.
        """
        check_names(name, subfolder)
        checked(revision or "", "The revision")
        with hub_errors(name):
            commit = client(token).resolve_revision(name, revision=revision, local_files_only=local_files_only).resolved
            if not COMMIT.fullmatch(commit):  # it becomes a folder of the cache
                raise ValueError(f"a commit of {commit[:80]!r}")
        return cls(name, commit, subfolder, token, local_files_only)

    @property
    def label(self) -> str:
        """How messages name it: `user/name`, with the subfolder if there is one."""
        return f"{self.name}/{self.subfolder}" if self.subfolder else self.name

    def stream(self, name: str) -> tuple[BinaryIO, int]:
        """Return a file that stays on the Hub, of which only what is read is fetched, and its size in bytes.

        Args:
            name: As in `LIMITS`.

        Raises:
            HubError: There is no such file, or it is too large.
        """
        if (remote := self._remote(name)) is None:
            raise self._lacks(name)
        return cast("BinaryIO", Ranges(self.name, self._url(name), remote.size, self.token)), remote.size

    def cached(self, name: str) -> Path | None:
        """Return the file's path in the Hub client's cache, or None if it is not there."""
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.name, self._path(name), revision=self.commit)
        return Path(path) if isinstance(path, str) else None

    def check_cache(self, folder: Path, names: Sequence[str], cause: Exception) -> None:
        """Check that cached files are what the Hub sent.

        Args:
            folder: In the Hub client's cache.
            names: Of the files.
            cause: What made the check necessary.

        Raises:
            FormatError: One was damaged since.
        """
        for name in names:
            content = (folder / name).resolve()  # the client names the content by its tag
            if not RemoteFile(content.stat().st_size, content.name).is_in(content):
                raise FormatError(
                    f"{name} of {self.label} was damaged in the Hub client's cache.",
                    f"Delete {content}, and it will be downloaded again.",
                ) from cause

    def fetch(self, names: Sequence[str], optional: Sequence[str] = ()) -> Path:
        """Download the files that are not in the Hub client's cache yet.

        Args:
            names: As in `LIMITS`.
            optional: Those that may be missing.

        Returns:
            The folder that holds them.

        Raises:
            HubError: A file is missing, too large, or did not arrive as it was sent; the Hub does not give it.
        """
        for name in names:
            if self.cached(name):
                continue
            if self.local_files_only:
                raise away(self.name)
            if not (remote := self._remote(name)):
                raise self._lacks(name)
            self._download(name, remote)
        with suppress(AwayError):  # then what is in the cache is what there is
            for name in optional:
                if not self.cached(name) and not self.local_files_only and (remote := self._remote(name)):
                    self._download(name, remote)
        return cast("Path", self.cached(names[0])).parent

    def _remote(self, name: str) -> RemoteFile | None:
        """What the Hub says of a file, checked before a byte of it is fetched; None if there is no such file.

        Raises:
            HubError: It is larger than any such file, or what is said makes no sense.
        """
        from huggingface_hub import get_hf_file_metadata
        from huggingface_hub.errors import RemoteEntryNotFoundError

        with hub_errors(self.name):
            try:
                metadata = get_hf_file_metadata(self._url(name), token=self.token, retry_on_errors=True)
            except RemoteEntryNotFoundError:
                return None
        # The client makes paths in its cache of the commit and the tag.
        if (
            metadata.commit_hash != self.commit
            or not _ETAG.fullmatch(metadata.etag or "")
            or metadata.size is None
            or metadata.size < 0
        ):
            raise HubError(
                f"What the Hub says of {name} of {self.label} is not about that file at commit {self.commit[:8]}.",
                "Try again later.",
            )
        size = metadata.size
        if size > LIMITS[name]:
            raise HubError(
                f"{name} of {self.label} has {size:,} bytes, no such file has more than {LIMITS[name]:,}.",
                "It was not downloaded.",
            )
        return RemoteFile(size, cast("str", metadata.etag))

    def _download(self, name: str, remote: RemoteFile) -> None:
        """Download a file into the cache; only an intact copy stays there."""
        from huggingface_hub import hf_hub_download

        for again in (False, True):
            with hub_errors(self.name):
                path = hf_hub_download(
                    self.name, self._path(name), revision=self.commit, token=self.token, force_download=again
                )
            # A server that is behind may answer for another commit, which the client then takes for this one.
            if Path(path) == self.cached(name) and remote.is_in(Path(path)):
                return
            repository = next(folder.parent for folder in Path(path).parents if folder.name == "snapshots")
            for spoilt in (Path(path).resolve(), Path(path), repository / "refs" / self.commit):
                if spoilt.is_relative_to(repository.resolve()) or spoilt.is_relative_to(repository):
                    spoilt.unlink(missing_ok=True)
        raise HubError(
            f"{name} of {self.label} did not arrive as it was sent, twice.", "Nothing of it was kept: try again later."
        )

    def _lacks(self, name: str) -> HubError:
        return HubError(
            f"{self.label} has no {name} at this commit.", "It holds no emotion vectors, or they are in a subfolder."
        )

    def _path(self, name: str) -> str:
        return f"{self.subfolder}/{name}" if self.subfolder else name

    def _url(self, name: str) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.name, self._path(name), revision=self.commit)


@dataclass(frozen=True)
class RemoteFile:
    """What the Hub says of a file.

    Args:
        size: In bytes.
        etag: The sha256 of a large file; of others the sha1 that git has.
    """

    size: int
    etag: str

    def is_in(self, file: Path) -> bool:
        """Return whether a file has the bytes that the Hub has, as far as its tag can tell."""
        if file.stat().st_size != self.size:
            return False
        content = file.read_bytes()
        if _SHA256.fullmatch(self.etag):
            return hashlib.sha256(content).hexdigest() == self.etag
        if COMMIT.fullmatch(self.etag):
            return hashlib.sha1(b"blob %d\0" % self.size + content).hexdigest() == self.etag
        return True


def is_remote(source: str | Path) -> bool:
    """Return whether this names a repository on the Hub rather than something on this machine.

    Args:
        source: As a caller gave it.
    """
    text = str(source)
    return isinstance(source, str) and text.count("/") == 1 and is_repo_id(text) and not Path(text).exists()
