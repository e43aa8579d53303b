"""Folders with large files in them, which appear whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emosteer.errors import InputError

__all__ = ["new_folder", "require_new"]


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
