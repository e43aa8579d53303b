"""A file of another library → its arrays by name. Such files come from strangers: nothing in them is ever run."""

from __future__ import annotations

import hashlib
import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from emosteer.errors import FormatError
from emosteer.vectors.format import DIRECTION, RESIDUAL_NORM

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 2**30
"""Of a file, and of what it unpacks to: more than a hundred emotions of a model of 70 billion parameters."""

CONVERT = (
    "If you trust where it comes from, convert it yourself, with what wrote it installed: import torch, "
    "safetensors.torch; vector = torch.load(FILE, weights_only=False), or pickle.load(open(FILE, 'rb')); "
    "safetensors.torch.save_file({f'layer.{i}': v.contiguous() for i, v in vector.layer_activations.items()}, "
    "'NAME.safetensors')"
)

# What zipfile raises over damage; RuntimeError: an entry with a password.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError, OSError)

__all__ = ["CONVERT", "Contents", "ForeignFile", "read", "zip_entry", "zip_of"]


class Contents(NamedTuple):
    """What a reader finds in a file.

    Args:
        arrays: Name in the file → array, as the file says it.
        producer: The library that writes such files, if the format tells.
        model_type: Architecture that the file says it is for, or None.
    """

    arrays: dict[str, Tensor]
    producer: str | None = None
    model_type: str | None = None


@dataclass(frozen=True)
class ForeignFile:
    """A file of steering vectors that has been read, for whatever model it was made.

    Args:
        name: Of the file, without its ending.
        format: `"gguf"`, `"safetensors"`, `"npz"` or `"torch"`.
        sha256: Of its bytes.
        contents: Its arrays, and what it says of itself.
    """

    name: str
    format: str
    sha256: str
    contents: Contents


def read(path: str | Path) -> ForeignFile:
    """Read a file of steering vectors; its first bytes tell its format.

    Args:
        path: A GGUF control vector (repeng, llama.cpp), a `SteeringVector` of steering-vectors or tensors written by
            `torch.save`, an `.npz`, or a safetensors file.

    Raises:
        FormatError: It is missing, damaged, too large, of none of these formats, or could run code when read.
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
    kind, reader = _kind(data, path.name)
    contents = reader(data, path.name)
    if not contents.arrays:
        raise FormatError(f"{path.name} holds no arrays.")
    return ForeignFile(path.stem, kind, hashlib.sha256(data).hexdigest(), contents)


def _kind(data: bytes, name: str) -> tuple[str, Callable[[bytes, str], Contents]]:
    from emosteer.importing.gguf import read_gguf
    from emosteer.importing.torch_files import read_torch

    if data.startswith(b"GGUF"):
        return "gguf", read_gguf
    if data[8:9] == b"{":
        return "safetensors", _read_safetensors
    if data.startswith(b"PK\x03\x04"):
        with zip_of(data, name) as archive:
            is_torch = any(entry.endswith("data.pkl") for entry in archive.namelist())
        return ("torch", read_torch) if is_torch else ("npz", _read_npz)
    if data.startswith(b"\x80"):
        raise FormatError(f"{name} is a pickle, which can run any code when it is read, so it is not.", CONVERT)
    raise FormatError(
        f"{name} is no file of steering vectors that is known here.",
        "Known are GGUF control vectors, safetensors, .npz and what torch.save writes.",
    )


def zip_of(data: bytes, name: str) -> zipfile.ZipFile:
    """A zip archive whose declared sizes are those of steering vectors.

    Args:
        data: The archive.
        name: Of the file, for messages.

    Raises:
        FormatError: It is damaged, has a name twice, or would unpack to more than `MAX_BYTES`.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except ZIP_ERRORS as error:
        raise FormatError(f"{name} is a damaged zip archive ({error}).", "Copy it again.") from error
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise FormatError(f"{name} has two entries of the same name.")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise FormatError(f"{name} is packed in a way that no library packs vectors.", "Expected stored or deflated.")
    if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        raise FormatError(f"{name} would unpack to {total} bytes, expected at most {MAX_BYTES}.")
    return archive


def zip_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
    """The content of an entry, and never more than the size that it declares.

    Args:
        archive: From `zip_of`.
        entry: Which.
        name: Of the file, for messages.

    Raises:
        FormatError: It is damaged.
    """
    try:
        with archive.open(entry) as stream:
            return stream.read(entry.file_size)  # without a size it would unpack up to 2 GiB at once, and then cut
    except ZIP_ERRORS as error:
        raise FormatError(f"{name} is damaged at {entry.filename[:70]!r} ({error}).", "Copy it again.") from error


def _read_safetensors(data: bytes, name: str) -> Contents:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)  # checks that its header and its size agree
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise FormatError(f"{name} is not a valid safetensors file ({error}).", "Copy it again.") from error
    if RESIDUAL_NORM in tensors and any(key.startswith(DIRECTION) for key in tensors):
        raise FormatError(f"{name} is a file of emosteer already.", "Use it as it is: --vectors, or from_pretrained.")
    return Contents({key: tensors[key] for key in sorted(tensors)})


def _read_npz(data: bytes, name: str) -> Contents:
    arrays: dict[str, Tensor] = {}
    with zip_of(data, name) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                raise FormatError(f"{name} holds {entry.filename[:70]!r}, expected only arrays of numpy (.npy).")
            content = zip_entry(archive, entry, name)
            arrays[entry.filename.removesuffix(".npy")] = _npy(content, f"{entry.filename[:70]!r} in {name}")
    return Contents(arrays)


def _npy(data: bytes, called: str) -> Tensor:
    """One array of numpy: its header is read as data, and must describe just the bytes that follow."""
    import numpy as np
    import torch

    stream = io.BytesIO(data)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(stream)
        if version not in headers:
            raise FormatError(f"{called} is of version {version} of numpy's format, expected (1, 0) or (2, 0).")
        shape, by_column, dtype = headers[version](stream)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{called} has no valid header of numpy ({str(error)[:100]}).") from error
    if dtype.kind != "f" or dtype.itemsize > 8:
        raise FormatError(f"{called} holds {str(dtype)[:40]}, expected floating-point numbers.")
    rest, size = data[stream.tell() :], dtype.itemsize
    for extent in shape:
        size *= extent
    if min(shape, default=1) < 0 or len(rest) != size:
        raise FormatError(f"{called} has {len(rest)} bytes, its shape {str(list(shape))[:70]} needs {size}.")
    flat = np.frombuffer(rest, dtype).astype(dtype.newbyteorder("="))
    return torch.from_numpy(flat.reshape(shape, order="F" if by_column else "C").copy(order="C"))
