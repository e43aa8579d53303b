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
from emosteer.importing.contents import CONVERT, Contents

if TYPE_CHECKING:
    from torch import Tensor

STEERING_VECTOR = "steering_vectors.steering_vector.SteeringVector"
DECODER_BLOCK = "decoder_block"  # what steering-vectors calls the output of a block
MAX_PICKLE = 2**20
"""Largest pickle, in bytes. A tensor takes about 150 in it."""

_HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_tensor_v2|torch\.(Double|Float|Half|BFloat16)Storage"
)
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
        FormatError: The file is damaged, imports anything but tensors, or steers another site than block outputs.
    """
    import torch

    _check(data, name)
    try:
        with torch.serialization.safe_globals([(_SteeringVector, STEERING_VECTOR)]):
            loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, AssertionError),
        *(pickle.UnpicklingError, OSError, OverflowError, MemoryError),
    ) as error:
        raise FormatError(f"{name} cannot be read as tensors ({_first_line(error)}).", CONVERT) from error
    producer = None
    if isinstance(loaded, _SteeringVector):
        producer, site = "steering-vectors", getattr(loaded, "layer_type", DECODER_BLOCK)
        if site != DECODER_BLOCK:
            raise FormatError(
                f"{name} steers {str(site)[:40]!r}, expected {DECODER_BLOCK!r}: emotion vectors are of block outputs.",
                "Train it anew with layer_type='decoder_block'.",
            )
        loaded = getattr(loaded, "layer_activations", None)
    return Contents(_tensors(loaded, name), producer)


class _SteeringVector:
    """Stand-in for the dataclass. torch puts its fields, tensors and strings, into `__dict__`."""


def _check(data: bytes, name: str) -> None:
    """Check that nothing is compressed and that the pickle imports only what tensors need."""
    with open_archive(data, name) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise FormatError(f"{name} is compressed, which torch.save never does.", CONVERT)
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
                CONVERT,
            )


def _tensors(loaded: Any, name: str) -> dict[str, Tensor]:
    import torch

    if isinstance(loaded, torch.Tensor):
        return {"": loaded}  # the file or the caller names it
    if not isinstance(loaded, dict) or not all(
        type(key) in (str, int) and isinstance(value, torch.Tensor) and value.layout == torch.strided
        for key, value in loaded.items()
    ):
        raise FormatError(f"{name} holds {type(loaded).__name__}, expected tensors by name or by layer.", CONVERT)
    return {str(key): value.detach() for key, value in loaded.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
