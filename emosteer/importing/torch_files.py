"""Files of `torch.save`: tensors by name or by layer, or a `SteeringVector` of steering-vectors.

Inside is a pickle, a program that can call anything. There are two safeguards. First, its instructions are listed
without being executed, and everything it would import must be one of the few names that tensors need. Then torch reads
it with `weights_only=True`, which calls nothing else, and an empty class stands in for the dataclass.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from typing import TYPE_CHECKING, Any

from emosteer.errors import FormatError
from emosteer.importing.archives import open_archive, read_entry
from emosteer.importing.contents import Contents, how_to_convert

if TYPE_CHECKING:
    from torch import Tensor

STEERING_VECTOR = "steering_vectors.steering_vector.SteeringVector"
MAX_PICKLE = 2**20
"""Largest pickle, in bytes. A tensor takes about 150 in it."""

_HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_tensor_v2|torch\.(Double|Float|Half|BFloat16)Storage"
)
_WANTED = "Expected is torch.save({'joy.7': tensor}, FILE): for each layer a tensor, by emotion and layer."
# Instructions that import in ways that torch.save never uses.
_OTHER_IMPORTS = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}

__all__ = ["read_torch"]


def read_torch(data: bytes, name: str) -> Contents:
    """Read a file of `torch.save`.

    Args:
        data: The file.
        name: Name of the file, for errors.

    Returns:
        Array by name, or by the number of its layer.

    Raises:
        FormatError: The file is damaged, or imports anything but tensors.
    """
    import torch

    program = _program(data, name)
    try:
        with torch.serialization.safe_globals([(_SteeringVector, STEERING_VECTOR)]):
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, AssertionError),
        *(pickle.UnpicklingError, OSError, OverflowError, MemoryError),
    ) as error:
        raise FormatError(
            f"{name} cannot be read as tensors ({_first_line(error)}).", how_to_convert(program)
        ) from error
    if isinstance(loaded, _SteeringVector):
        said = vars(loaded)
        arrays, _ = _tensors(said.get("layer_activations"), name)
        return Contents(arrays, "steering-vectors", declared={key: said[key] for key in said if type(said[key]) is str})
    arrays, declared = _tensors(loaded, name)
    return Contents(arrays, declared=declared)


class _SteeringVector:
    """Stand-in for the dataclass. torch puts its fields, tensors and strings, into `__dict__`."""


def _program(data: bytes, name: str) -> bytes:
    """Return the pickle, after a check that nothing is compressed and that it imports only what tensors need."""
    with open_archive(data, name) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise FormatError(f"{name} is compressed, which torch.save never does.", how_to_convert(data))
        programs = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
        if len(programs) != 1 or programs[0].file_size > MAX_PICKLE:
            raise FormatError(f"{name} has {len(programs)} pickles or a huge one, expected one of a few kilobytes.")
        program = read_entry(archive, programs[0], name)
    try:
        codes = [(code.name, argument) for code, argument, _ in pickletools.genops(program)]
    except ValueError as error:
        raise FormatError(f"{name} is damaged ({_first_line(error)}).", "Copy it again.") from error
    for code, argument in codes:
        target = str(argument).replace(" ", ".") if code == "GLOBAL" else code
        harmless = target == STEERING_VECTOR or _HARMLESS.fullmatch(target)
        if code in _OTHER_IMPORTS or (code == "GLOBAL" and not harmless):
            raise FormatError(
                f"{name} would import {target[:70]!r} when it is read, expected only tensors; nothing in it was run.",
                how_to_convert(program),
            )
    return program


def _tensors(loaded: Any, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors by name or layer, and what else stands beside them."""
    import torch

    if isinstance(loaded, torch.Tensor):
        loaded = {"": loaded}  # the file or the caller names it
    if not isinstance(loaded, dict):
        raise FormatError(f"{name} holds {type(loaded).__name__}, expected tensors by name or by layer.", _WANTED)
    tensors, declared = {}, {}
    for key, value in loaded.items():
        if type(key) not in (str, int):
            raise FormatError(f"{name} has {str(key)[:40]!r} for a name, expected a text or a layer.", _WANTED)
        if isinstance(value, torch.Tensor) and value.layout == torch.strided:
            if str(key) in tensors:
                raise FormatError(f"{name} has two tensors {str(key)[:70]!r}.")
            tensors[str(key)] = value.detach()
        elif value is None or type(value) in (str, int, float, bool):
            declared[str(key)] = value
        else:
            raise FormatError(f"{name} holds {type(value).__name__} as {str(key)[:70]!r}, expected tensors.", _WANTED)
    return tensors, declared


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
