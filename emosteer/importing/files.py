"""Reading a steering-vector file of another library: its arrays by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from emosteer.errors import FormatError
from emosteer.importing.archives import open_archive
from emosteer.importing.contents import MAX_BYTES, Contents, how_to_convert
from emosteer.importing.declared import check_declared
from emosteer.importing.gguf import read_gguf
from emosteer.importing.names import places
from emosteer.importing.npz import read_npz
from emosteer.importing.torch_files import read_torch
from emosteer.vectors.format import DIRECTION, RESIDUAL_NORM

__all__ = ["ForeignFile", "read"]


@dataclass(frozen=True)
class ForeignFile:
    """A file of steering vectors that has been read.

    Args:
        name: Name of the file, without its suffix.
        format: `"gguf"`, `"safetensors"`, `"npz"` or `"torch"`.
        sha256: Digest of its bytes.
        contents: Its arrays, and what it says about itself.
    """

    name: str
    format: str
    sha256: str
    contents: Contents


def read(path: str | Path) -> ForeignFile:
    """Read a file of steering vectors. Its format is recognised by its first bytes.

    Args:
        path: A GGUF control vector (repeng, llama.cpp), a `SteeringVector` of steering-vectors or tensors written by
            `torch.save`, an `.npz`, or a safetensors file.

    Raises:
        FormatError: The file is missing, damaged, too large, of no known format, or could execute code when read. Or it
            says that its vectors are not for adding to the output of blocks, or does not clearly say of which.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise FormatError(f"There is no file {str(path)[:300]!r}.", "Name a file of steering vectors.")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise FormatError(f"{path.name} has {size} bytes, expected at most {MAX_BYTES} for steering vectors.")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{str(path)[:300]!r} cannot be read ({error}).") from error
    format_name, reader = _recognise(data, path.name)
    contents = reader(data, path.name)
    if not contents.arrays:
        raise FormatError(f"{path.name} holds no arrays.")
    check_declared(contents, path.name)
    places(contents.single, path.name)
    return ForeignFile(path.stem, format_name, hashlib.sha256(data).hexdigest(), contents)


def _recognise(data: bytes, name: str) -> tuple[str, Callable[[bytes, str], Contents]]:
    if data.startswith(b"GGUF"):
        return "gguf", read_gguf
    if data[8:9] == b"{":
        return "safetensors", _read_safetensors
    if data.startswith(b"PK\x03\x04"):
        with open_archive(data, name) as archive:
            is_torch = any(entry.endswith("data.pkl") for entry in archive.namelist())
        return ("torch", read_torch) if is_torch else ("npz", read_npz)
    if data.startswith(b"\x80"):
        raise FormatError(
            f"{name} is a pickle, which can run any code when it is read, so it is not.", how_to_convert(data)
        )
    raise FormatError(
        f"{name} is no file of steering vectors that is known here.",
        "Known are GGUF control vectors, safetensors, .npz and what torch.save writes.",
    )


def _read_safetensors(data: bytes, name: str) -> Contents:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)  # checks the header against the size
        metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FormatError(f"{name} is not a valid safetensors file ({error}).", "Copy it again.") from error
    if RESIDUAL_NORM in tensors and any(key.startswith(DIRECTION) for key in tensors):
        raise FormatError(f"{name} is a file of emosteer already.", "Use it as it is: --vectors, or from_pretrained.")
    return Contents({key: tensors[key] for key in sorted(tensors)}, declared=metadata)
