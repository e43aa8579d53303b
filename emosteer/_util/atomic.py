"""Atomic writing of files and folders."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from emosteer.errors import InputError

__all__ = ["new_folder", "require_new", "require_writable", "write_folder"]


def write_folder(folder: Path, files: Mapping[str, bytes], *, without: Collection[str] = ()) -> None:
    """Write files, each whole or not at all.

    The files are written under temporary names in the folder, and renamed when all are complete.

    Args:
        folder: The folder, created if it does not exist.
        files: File name → content.
        without: Names of files that are removed in the same step, where they are.

    Raises:
        InputError: The folder cannot be written or the disk is full; its files are unchanged.
    """
    scratch: dict[str, Path] = {}
    try:
        created = _missing(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                descriptor, scratch_name = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
                scratch[name] = Path(scratch_name)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            mask = os.umask(0)
            os.umask(mask)
            for name, path in scratch.items():
                path.chmod(0o666 & ~mask)  # mkstemp creates files that only their owner may read
                if (folder / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _put_in_place(scratch, folder, without)
        finally:
            for path in scratch.values():
                path.unlink(missing_ok=True)
            _remove_empty(created)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}).", "Nothing was changed; name another folder."
        ) from error


def require_new(folder: Path) -> None:
    """Check that a folder does not exist or is empty.

    Raises:
        InputError: The path exists and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already.", "Name a folder that is not, or remove it.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed when the block ends, or deleted if it fails.

    Args:
        folder: The final path.

    Raises:
        InputError: The path exists and is not an empty folder, or cannot be written.
    """
    from safetensors import SafetensorError

    require_new(folder)
    scratch: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        inside = scratch / "whole"  # mkdtemp creates a folder that only its owner may read
        inside.mkdir()
        yield inside
        if folder.exists():
            folder.rmdir()  # empty
        inside.rename(folder)
    except (OSError, SafetensorError) as error:  # safetensors has its own error for a full disk
        raise InputError(
            f"{folder} cannot be written ({getattr(error, 'strerror', None) or error}).",
            "Nothing was changed; name another folder.",
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Mapping[str, Path], folder: Path, without: Collection[str]) -> None:
    """Rename all files into the folder and others away, or restore it; replaced files are present at every moment."""
    backups: dict[str, Path] = {}
    aside = {name: folder / f".{name}.{os.getpid()}.old" for name in without if (folder / name).exists()}
    try:
        for name, path in scratch.items():
            if (folder / name).exists():
                backups[name] = path.with_name(f"{path.name}.old")
                try:
                    os.link(folder / name, backups[name])
                except OSError:  # a file system without hard links
                    shutil.copyfile(folder / name, backups[name])
        for name, path in scratch.items():
            path.replace(folder / name)
        for name, path in aside.items():
            (folder / name).replace(path)
    except BaseException:  # including interrupts
        kept = {**{name: path for name, path in backups.items() if not scratch[name].exists()}, **aside}
        for name in (name for name, path in scratch.items() if not path.exists() and name not in backups):
            (folder / name).unlink(missing_ok=True)
        for name in (name for name, path in kept.items() if path.exists()):
            kept[name].replace(folder / name)
        raise
    finally:
        for path in (*backups.values(), *aside.values()):
            path.unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Check that a folder can be created and written, and leave no trace.

    Args:
        folder: The folder, which need not exist.

    Raises:
        InputError: The folder cannot be created or written.
    """
    probe = f".probe-{os.getpid()}"
    created = _missing(folder)
    write_folder(folder, {probe: b""})
    (folder / probe).unlink()
    _remove_empty(created)


def _missing(folder: Path) -> list[Path]:
    """Return the folder and its parents that do not exist yet, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty, or never created
            folder.rmdir()
