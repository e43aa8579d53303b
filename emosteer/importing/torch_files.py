"""What `torch.save` writes: tensors by name or by layer, or a `SteeringVector` of steering-vectors.

Inside is a pickle, a program that can call anything. Two walls stand before it. Its instructions are listed without
being run, and whatever it would import must be one of the few names that tensors need; then torch reads it with
`weights_only=True`, an interpreter of its own that calls nothing else, where the dataclass is an empty class of ours.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from typing import TYPE_CHECKING, Any

from emosteer.errors import FormatError
from emosteer.importing.files import CONVERT, Contents, zip_entry, zip_of

if TYPE_CHECKING:
    from torch import Tensor

STEERING_VECTOR = "steering_vectors.steering_vector.SteeringVector"
DECODER_BLOCK = "decoder_block"  # steering-vectors' name for the layer type that is our block output
MAX_PICKLE = 2**20
"""Bytes of the pickle itself, where a tensor takes some 150."""

_HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_tensor_v2|torch\.(Double|Float|Half|BFloat16)Storage"
)
# Ways to name an import that torch.save never takes.
_NAMES_OTHERWISE = {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}

__all__ = ["read_torch"]


def read_torch(data: bytes, name: str) -> Contents:
    """Read a file of `torch.save`.

    Args:
        data: The file.
        name: Its name, for messages.

    Returns:
        Arrays by the names or layer numbers they have.

    Raises:
        FormatError: It is damaged, asks for anything but tensors, or steers another place than a block's output.
    """
    import torch

    _check(data, name)
    try:
        with torch.serialization.safe_globals([(_SteeringVector, STEERING_VECTOR)]):
            found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (
        *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, EOFError, AssertionError),
        *(pickle.UnpicklingError, OSError, OverflowError, MemoryError),
    ) as error:
        raise FormatError(f"{name} cannot be read as tensors ({_first_line(error)}).", CONVERT) from error
    producer = None
    if isinstance(found, _SteeringVector):
        producer, site = "steering-vectors", getattr(found, "layer_type", DECODER_BLOCK)
        if site != DECODER_BLOCK:
            raise FormatError(
                f"{name} steers {str(site)[:40]!r}, expected {DECODER_BLOCK!r}: emotion vectors are of block outputs.",
                "Train it anew with layer_type='decoder_block'.",
            )
        found = getattr(found, "layer_activations", None)
    return Contents(_tensors(found, name), producer)


class _SteeringVector:
    """Stands in for the dataclass; torch puts its fields, plain tensors and a text, into `__dict__`."""


def _check(data: bytes, name: str) -> None:
    """See that nothing is packed and that the pickle names nothing but tensors."""
    with zip_of(data, name) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise FormatError(f"{name} is compressed, which torch.save never does.", CONVERT)
        programs = [entry for entry in archive.infolist() if entry.filename.endswith(".pkl")]
        if len(programs) != 1 or programs[0].file_size > MAX_PICKLE:
            raise FormatError(f"{name} has {len(programs)} pickles or a huge one, expected one of a few kilobytes.")
        program = zip_entry(archive, programs[0], name)
    try:
        codes = [(code.name, argument) for code, argument, _ in pickletools.genops(program)]
    except ValueError as error:
        raise FormatError(f"{name} is damaged ({_first_line(error)}).", "Copy it again.") from error
    for code, argument in codes:
        named = str(argument).replace(" ", ".") if code == "GLOBAL" else code
        harmless = named == STEERING_VECTOR or _HARMLESS.fullmatch(named)
        if code in _NAMES_OTHERWISE or (code == "GLOBAL" and not harmless):
            raise FormatError(
                f"{name} would import {named[:70]!r} when it is read, expected only tensors; nothing in it was run.",
                CONVERT,
            )


def _tensors(found: Any, name: str) -> dict[str, Tensor]:
    import torch

    if isinstance(found, torch.Tensor):
        return {"": found}  # without a name, which the file or the caller gives
    if not isinstance(found, dict) or not all(
        type(key) in (str, int) and isinstance(value, torch.Tensor) and value.layout == torch.strided
        for key, value in found.items()
    ):
        raise FormatError(f"{name} holds {type(found).__name__}, expected tensors by name or by layer.", CONVERT)
    return {str(key): value.detach() for key, value in found.items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
