"""GGUF control vectors, as repeng and llama.cpp write them: one tensor `direction.N` a layer.

The package gguf is not used for reading: a file of a hundred bytes that declares an array of a trillion numbers keeps
its reader busy for hours and fills the memory. Here every declared count is checked against the bytes that are left.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

from emosteer.errors import FormatError
from emosteer.importing.contents import Contents

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURE = "controlvector"
VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF value type → letter of the struct module."""
STRING, ARRAY = 8, 9
LONGEST = 1024
"""Values of an array that are kept."""
DTYPES = {0: ("float32", 4), 1: ("float16", 2), 28: ("float64", 8), 30: ("bfloat16", 2)}
"""ggml tensor type → dtype of torch and its size in bytes."""

__all__ = ["read_gguf"]


def read_gguf(data: bytes, name: str) -> Contents:
    """Read a GGUF control vector.

    Args:
        data: The file.
        name: Name of the file, for errors.

    Returns:
        `direction.N` → `[d_model]`, in the order of the file, and what the file says beside it.

    Raises:
        FormatError: The file is damaged, or not a control vector.
    """
    file = _Reader(data, name)
    _, version = file.numbers("II")  # the magic is known
    if version not in VERSIONS:
        file.bad(f"it is of GGUF version {version}, expected 2 or 3, little-endian")
    n_tensors, n_fields = file.numbers("QQ")
    fields: dict[str, Any] = {}
    for _ in range(n_fields):
        key = file.text()
        fields[key] = file.value(*file.numbers("I"))
    if (architecture := fields.get("general.architecture")) != ARCHITECTURE:
        file.bad(f"its architecture is {str(architecture)[:40]!r}, expected {ARCHITECTURE!r}")
    infos = [file.tensor_info() for _ in range(n_tensors)]  # the file ends before a count that is too large
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        file.bad(f"its alignment is {str(alignment)[:40]!r}, expected a number of bytes")
    start = -(-file.at // alignment) * alignment
    arrays: dict[str, Tensor] = {}
    for key, shape, kind, offset in infos:
        if key in arrays:
            file.bad(f"it has two tensors {key[:70]!r}")
        arrays[key] = file.tensor(key, shape, kind, start + offset)
    hint = fields.pop(f"{ARCHITECTURE}.model_hint", None)
    declared = {key: value for key, value in fields.items() if not key.startswith("general.")}
    return Contents(arrays, "repeng or llama.cpp", hint[:70] if isinstance(hint, str) and hint else None, declared)


class _Reader:
    """A position in the bytes of a file, beyond whose end no declared size leads."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.at = data, name, 0

    def bad(self, reason: str) -> NoReturn:
        raise FormatError(f"{self.name} is not a valid GGUF control vector: {reason}.")

    def take(self, length: int) -> bytes:
        if length > len(self.data) - self.at:
            self.bad(f"it ends at byte {len(self.data)}, where {length} more should stand from byte {self.at}")
        self.at += length
        return self.data[self.at - length : self.at]

    def numbers(self, kinds: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{kinds}", self.take(struct.calcsize(f"<{kinds}")))

    def text(self) -> str:
        return self.take(*self.numbers("Q")).decode(errors="replace")

    def value(self, kind: int) -> Any:
        """Read one metadata value. Of a long array, which no control vector needs, only the length is kept."""
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            of, count = self.numbers("IQ")
            if of == STRING:
                texts = (self.text() for _ in range(count))  # each takes eight bytes, so the file ends first
                return [text for i, text in enumerate(texts) if i < LONGEST]
            if of not in SCALARS:
                self.bad(f"it has an array of the unknown type {of}")
            content = self.take(count * struct.calcsize(f"<{SCALARS[of]}"))
            return list(struct.unpack(f"<{count}{SCALARS[of]}", content)) if count <= LONGEST else f"{count} values"
        if kind not in SCALARS:
            self.bad(f"it has a value of the unknown type {kind}")
        return self.numbers(SCALARS[kind])[0]

    def tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        """Read the name, shape (in the order of numpy), type and offset of a tensor."""
        key = self.text()
        (extents,) = self.numbers("I")
        if extents > 4:
            self.bad(f"the tensor {key[:70]!r} has {extents} dimensions")
        shape = self.numbers("Q" * extents)[::-1]
        return key, shape, *self.numbers("IQ")

    def tensor(self, key: str, shape: tuple[int, ...], kind: int, begin: int) -> Tensor:
        import torch

        if kind not in DTYPES:
            self.bad(f"the tensor {key[:70]!r} is of the ggml type {kind}, expected F32, F16, BF16 or F64")
        dtype, size = DTYPES[kind]
        self.at = min(begin, len(self.data))
        content = self.take(prod(shape) * size)
        if not content:
            self.bad(f"the tensor {key[:70]!r} is empty")
        return torch.frombuffer(bytearray(content), dtype=getattr(torch, dtype)).reshape(shape)
