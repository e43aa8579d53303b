"""Archives of numpy arrays, `.npz`. Read here since numpy trusts the sizes in their headers."""

from __future__ import annotations

import io
import tokenize
from typing import TYPE_CHECKING, Any

from emosteer.errors import FormatError
from emosteer.importing.archives import open_archive, read_entry
from emosteer.importing.contents import Contents

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["read_npz"]


def read_npz(data: bytes, name: str) -> Contents:
    """Read an `.npz` file.

    Args:
        data: The file.
        name: Name of the file, for errors.

    Returns:
        Array by name. Single texts and numbers are what the file says of them.

    Raises:
        FormatError: The file is damaged, or holds anything but arrays of floating-point numbers.
    """
    import numpy as np
    import torch

    arrays: dict[str, Tensor] = {}
    declared: dict[str, Any] = {}
    with open_archive(data, name) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                raise FormatError(f"{name} holds {entry.filename[:70]!r}, expected only arrays of numpy (.npy).")
            content, key = read_entry(archive, entry, name), entry.filename.removesuffix(".npy")
            value = _npy(content, f"{entry.filename[:70]!r} in {name}")
            if isinstance(value, np.ndarray):
                arrays[key] = torch.from_numpy(value)
            else:
                declared[key] = value
    return Contents(arrays, declared=declared)


def _npy(data: bytes, called: str) -> np.ndarray[Any, Any] | str | float:
    """Read one array, or a single text or number.

    Its header is parsed as data, and must describe exactly the bytes that follow it.
    """
    import numpy as np

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
    single = not shape and dtype.kind in "Uiub" and dtype.itemsize > 0
    if not single and (dtype.kind != "f" or dtype.itemsize > 8):
        raise FormatError(f"{called} holds {str(dtype)[:40]}, expected floating-point numbers.")
    rest, size = data[stream.tell() :], dtype.itemsize
    for extent in shape:
        size *= extent
    if min(shape, default=1) < 0 or len(rest) != size:
        raise FormatError(f"{called} has {len(rest)} bytes, its shape {str(list(shape))[:70]} needs {size}.")
    if single and dtype.kind == "U":
        try:
            return rest.decode("utf-32-be" if dtype.byteorder == ">" else "utf-32-le").rstrip("\0")
        except UnicodeDecodeError as error:
            raise FormatError(f"{called} holds no text ({error}).") from error
    flat = np.frombuffer(rest, dtype).astype(dtype.newbyteorder("="))
    if not shape:
        number: float = flat[0].item()
        return number
    return flat.reshape(shape, order="F" if by_column else "C").copy(order="C")
