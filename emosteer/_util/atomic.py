"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from emosteer.errors import InputError

__all__ = ["new_folder", "require_new", "require_writable", "write_folder"]


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files so that each is either there whole or not at all.

    All are written beside their places first, and put there only when every one has been written.

    Args:
        folder: Created if it is not there.
        files: File name → content.

    Raises:
        InputError: The folder cannot be written or the disk is full; what was there is unchanged.
    """
    scratch: dict[str, Path] = {}
    made: list[Path] = []
    try:
        made = _missing(folder)
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
                path.chmod(0o666 & ~mask)  # mkstemp makes files that only their owner may read
                if (folder / name).is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _put_in_place(scratch, folder)
        finally:
            for path in scratch.values():
                path.unlink(missing_ok=True)
            _remove_empty(made)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}).", "Nothing was changed; name another folder."
        ) from error


def require_new(folder: Path) -> None:
    """Check that a folder is not there, or is empty.

    Raises:
        InputError: There is something at its place.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(f"{folder} is there already.", "Name a folder that is not, or remove it.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder that takes its place when the block ends, and goes when the block fails.

    Args:
        folder: Where it goes.

    Raises:
        InputError: There is something at its place, or it cannot be written.
    """
    from safetensors import SafetensorError

    require_new(folder)
    scratch: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        inside = scratch / "whole"  # mkdtemp makes a folder that only its owner may read
        inside.mkdir()
        yield inside
        if folder.exists():
            folder.rmdir()  # empty
        inside.rename(folder)
    except (OSError, SafetensorError) as error:  # safetensors has a kind of its own for a full disk
        raise InputError(
            f"{folder} cannot be written ({getattr(error, 'strerror', None) or error}).",
            "Nothing was changed; name another folder.",
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _put_in_place(scratch: Mapping[str, Path], folder: Path) -> None:
    """Rename all files into the folder, or leave it as it was; at no moment is a file missing that was there."""
    kept: dict[str, Path] = {}
    try:
        for name, path in scratch.items():
            if (folder / name).exists():
                kept[name] = path.with_name(f"{path.name}.old")
                _second_name(folder / name, kept[name])
        for name, path in scratch.items():
            path.replace(folder / name)
    except BaseException:  # an interrupt too
        for name in (name for name, path in scratch.items() if not path.exists()):
            if name in kept:
                kept[name].replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        raise
    finally:
        for path in kept.values():
            path.unlink(missing_ok=True)


def _second_name(file: Path, name: Path) -> None:
    try:
        os.link(file, name)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, name)


def require_writable(folder: Path) -> None:
    """Check that a folder can be made and written, and leave nothing behind.

    Args:
        folder: It need not be there.

    Raises:
        InputError: It cannot.
    """
    probe = f".probe-{os.getpid()}"
    made = _missing(folder)
    write_folder(folder, {probe: b""})
    (folder / probe).unlink()
    _remove_empty(made)


def _missing(folder: Path) -> list[Path]:
    """The folder and those above it that are not there yet, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty, or never made
            folder.rmdir()
