"""The vector file: one safetensors file whose only metadata key is the whole config, and the same config beside it.

A vector file comes from strangers. Everything about it is checked before anything of its size is allocated: the header
against the file, the config against the header, each tensor against its digest as it is read.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from emosteer._util import strict_json
from emosteer._util.layout import CONFIG_FILE, LIMITS, MAX_CONFIG, VECTORS_FILE
from emosteer._util.names import misspelt_path
from emosteer.errors import FormatError, ToneError
from emosteer.vectors.config import Config

if TYPE_CHECKING:
    from torch import Tensor

METADATA_KEY = "emosteer"
DIRECTION = "direction."
RESIDUAL_NORM = "residual_norm"
CENTER = "center"
NEUTRAL_BASIS = "neutral_basis"
RESERVED = ("readout.", "affect.", "direction@")
READOUT_WEIGHTS = "readout.weights."
READOUT_PARTS = ("readout.bias", "readout.spread", "readout.inertia")
MAX_HEADER = 16 * 2**20
DTYPES = {"F32": ("<f4", 1e-4), "F16": ("<f2", 4e-3)}  # safetensors name → numpy name, tolerance of a unit norm

__all__ = ["VectorFile", "config_json", "serialise"]


@dataclass(frozen=True)
class _Entry:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class VectorFile:
    """An open vector file: its header has been checked, its tensors are read and checked one by one.

    Args:
        config: What the file says of itself.
        name: Of the file, for messages.
    """

    config: Config
    name: str
    _stream: BinaryIO
    _entries: Mapping[str, _Entry]

    @classmethod
    @contextmanager
    def open(cls, path: Path, name: str | None = None) -> Iterator[VectorFile]:
        """Open a folder of the format, or its single `.safetensors` file.

        Args:
            path: Folder or file.
            name: For messages; by default the file's own.

        Raises:
            FormatError: There is no file, or it is not a vector file that this version reads.
        """
        file, folder, stream = _open(path)
        with stream:
            try:
                beside = _config_beside(path) if folder else None
                opened = cls.over(stream, os.fstat(stream.fileno()).st_size, name or file.name, beside)
            except OSError as error:
                raise _unreadable(file, error) from error
            yield opened

    @classmethod
    def over(cls, stream: BinaryIO, size: int, name: str, config: bytes | None = None) -> VectorFile:
        """Check the header of a file wherever it is read from.

        Args:
            stream: Its bytes, seekable.
            size: Of the file, in bytes.
            name: Of the file, for messages.
            config: Content of the `config.json` beside it, which must agree, or None for a single file.

        Raises:
            FormatError: It is not a vector file that this version reads.
            OSError: The stream cannot be read.
        """
        header, start = _header(stream, size, name)
        metadata = header.pop("__metadata__", None)
        if not isinstance(metadata, dict) or set(metadata) != {METADATA_KEY}:
            _bad(name, "it is a safetensors file, but not one of emosteer: its metadata says nothing")
        raw = _parse(metadata.pop(METADATA_KEY), f"the config in {name}")
        parsed = Config.from_dict(raw)  # before the tensors: a later version may have other kinds of them
        entries = _entries(header, size - start, start, name)
        if config is not None and _parse(config, CONFIG_FILE) != raw:
            raise FormatError(
                f"{CONFIG_FILE} and the config inside {name} differ.",
                "One of them was changed; get both again, or save the vectors anew.",
            )
        _check_tensors(entries, parsed, name)
        return cls(parsed, name, stream, entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str) -> Tensor:
        """Read one tensor as float32 and check it against its digest.

        Args:
            name: As in the file, `direction.joy` for example.

        Raises:
            FormatError: Its bytes are not those that were written, or one of them is not a finite number.
        """
        import numpy as np
        import torch

        entry = self._entries[name]
        self._stream.seek(entry.begin)
        data = self._stream.read(entry.end - entry.begin)
        if len(data) != entry.end - entry.begin:
            _bad(self.name, f"it ends inside the tensor {name}")
        if hashlib.sha256(data).hexdigest() != self.config.digests[name]:
            _bad(self.name, f"the bytes of {name} are not those that were written", "Copy or download it again.")
        dtype, tolerance = DTYPES[entry.dtype]
        tensor = torch.from_numpy(np.frombuffer(data, dtype).astype(np.float32).reshape(entry.shape))
        if not bool(torch.isfinite(tensor).all()):
            _bad(self.name, f"{name} holds numbers that are not finite")
        if name.startswith(DIRECTION) and bool(((tensor.norm(dim=-1) - 1).abs() > tolerance).any()):
            _bad(self.name, f"the rows of {name} are not of unit length")
        if name == RESIDUAL_NORM and not bool((tensor > 0).all()):
            _bad(self.name, "a residual norm is not positive")
        return tensor

    def directions(self, emotions: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Read the directions of some emotions, by default of all.

        Args:
            emotions: Names; only their bytes are read.

        Raises:
            ToneError: One of them is not in the file.
            FormatError: As for `read`.
        """
        names = tuple(self.config.emotions) if emotions is None else tuple(emotions)
        if missing := [name for name in names if name not in self.config.emotions]:
            raise ToneError(
                f"{self.name} has no emotion {missing[0]!r}.", f"It has: {', '.join(self.config.emotions)}."
            )
        return {name: self.read(DIRECTION + name) for name in names}


def serialise(tensors: Mapping[str, Tensor], config: Config) -> tuple[bytes, Config]:
    """Return the bytes of a vector file, the same for the same input, and its config with digests.

    Args:
        tensors: Name in the file → float32 or float16 tensor.
        config: Everything else; digests are computed here.

    Raises:
        FormatError: The config is too large for a header.
    """
    import safetensors.torch

    # A copy each: safetensors refuses tensors that share memory.
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    entries = {name: _Entry(_dtype_name(name, tensor), tuple(tensor.shape), 0, 0) for name, tensor in copies.items()}
    for name, tensor in copies.items():
        if not bool(tensor.isfinite().all()):
            raise FormatError(f"{name} holds numbers that are not finite.")
    digests = {
        name: hashlib.sha256(tensor.numpy().astype(tensor.numpy().dtype.newbyteorder("<")).tobytes()).hexdigest()
        for name, tensor in copies.items()
    }
    try:
        contents = replace(config, digests=digests).to_dict()
    except (RecursionError, TypeError, ValueError) as error:
        raise FormatError(f"The config of these vectors cannot be written as JSON: {error}.") from error
    config = Config.from_dict(contents)  # what cannot be read is not written
    _check_tensors(entries, config, VECTORS_FILE)
    text = strict_json.canonical(config.to_dict())
    if len(text) > MAX_CONFIG:
        raise FormatError(f"The metadata of these vectors is larger than the {MAX_CONFIG // 2**20} MiB it may have.")
    data: bytes = safetensors.torch.save(copies, {METADATA_KEY: text})
    (length,) = struct.unpack_from("<Q", data)
    if length > MAX_HEADER:
        raise FormatError("The metadata of these vectors is larger than the 16 MiB that a header may have.")
    _parse(data[8 : 8 + length], "The header of these vectors")  # its limits are its own
    return data, config


def config_json(config: Config) -> bytes:
    """Return the content of `config.json`.

    Raises:
        FormatError: It would be too large to be read.
    """
    content = strict_json.pretty(config.to_dict()).encode()
    if len(content) > LIMITS[CONFIG_FILE]:
        raise FormatError(f"{CONFIG_FILE} would be larger than the {LIMITS[CONFIG_FILE] // 2**20} MiB it may have.")
    _parse(content, CONFIG_FILE)
    return content


def _dtype_name(name: str, tensor: Tensor) -> str:
    names = {"torch.float32": "F32", "torch.float16": "F16"}
    if str(tensor.dtype) not in names:
        raise FormatError(f"{name} is {str(tensor.dtype)[6:]}, expected float32.")
    return names[str(tensor.dtype)]


def _open(path: Path) -> tuple[Path, bool, BinaryIO]:
    """The file to read, whether it lies in a folder of the format, and its stream."""
    file = path
    try:
        folder = path.is_dir()
        file = path / VECTORS_FILE if folder else path
        return file, folder, file.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError | ValueError) -> FormatError:
    shown = str(file) if len(str(file)) < 300 else f"{str(file)[:300]}…"
    if not shown.isprintable():
        shown = ascii(shown)
    why = getattr(error, "strerror", None) or str(error)
    return FormatError(
        f"{shown} cannot be read ({why}).",
        misspelt_path(str(file)) or f"Vectors are a folder with a {VECTORS_FILE} in it, or that file.",
    )


def _bad(name: str, problem: str, hint: str | None = None) -> NoReturn:
    raise FormatError(f"{name} is not a valid emosteer vector file: {problem}.", hint)


def _header(stream: BinaryIO, size: int, name: str) -> tuple[dict[str, Any], int]:
    """The parsed header, and the offset at which the tensors begin."""
    prefix = stream.read(8)
    if len(prefix) < 8:
        _bad(name, f"it has {size} bytes, too few for a header")
    (length,) = struct.unpack("<Q", prefix)
    if length > MAX_HEADER or length > size - 8:
        _bad(name, f"its header would be {length} bytes long, in a file of {size}", "It may be cut off: copy it again.")
    text = stream.read(length)
    header = _parse(text, f"the header of {name}")
    if not isinstance(header, dict) or not text.startswith(b"{"):  # no byte-order mark either: safetensors takes none
        _bad(name, "its header is not a JSON object")
    return header, 8 + length


def _parse(text: Any, what: str) -> Any:
    if not isinstance(text, (str, bytes)):
        raise FormatError(f"{what} is not a text.")
    if isinstance(text, str) and len(text) > MAX_CONFIG:
        raise FormatError(f"{what} is larger than any config.")
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise FormatError(f"{what} cannot be read: {error}.", "The file is damaged: copy it again.") from None


def _entries(header: Mapping[str, Any], size: int, start: int, name: str) -> dict[str, _Entry]:
    """Check where the tensors are by the header: of known kinds, one after the other, filling the file."""
    entries: dict[str, _Entry] = {}
    for key, value in header.items():
        shown = repr(key[:70])
        if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
            _bad(name, f"the header entry {shown} is not that of a tensor")
        dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
        if dtype == "BF16":
            _bad(name, f"{shown} is BF16, in which a unit vector is off by up to 0.4 %", "Save it as F32 or F16.")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            _bad(name, f"the tensor {shown} has the dtype {str(dtype)[:20]!r}, expected F32 or F16")
        if not _whole(shape) or len(shape) > 3 or not _whole(offsets) or len(offsets) != 2:
            _bad(name, f"shape or offsets of {shown} are not whole numbers")
        length = 2 if dtype == "F16" else 4
        for extent in shape:
            length *= extent
        if offsets[1] - offsets[0] != length:
            _bad(name, f"the tensor {shown} of shape {shape} does not fill its place")
        entries[key] = _Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])
    at = start
    for key, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            _bad(name, f"the tensor {key[:70]!r} overlaps another or leaves a gap")
        at = entry.end
    if at != start + size:
        _bad(name, f"its tensors are {at - start} bytes, the file has {size} for them", "It may be cut off.")
    return entries


def _whole(value: Any) -> bool:
    # Eighteen digits are more than any file has bytes, and keep the product of three of them small.
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 10**18 for n in value)


def _check_tensors(entries: Mapping[str, _Entry], config: Config, name: str) -> None:
    """Check that the tensors fit the config: none missing, none foreign, each of its shape."""
    rows, width = len(config.layers), config.base_model.hidden_size
    expected: dict[str, tuple[int, ...]] = {DIRECTION + emotion: (rows, width) for emotion in config.emotions}
    expected |= {RESIDUAL_NORM: (rows,)}
    if missing := expected.keys() - entries.keys():
        _bad(name, f"the tensor {min(missing)[:70]!r} is missing")
    optional: dict[str, tuple[int, ...]] = {CENTER: (rows, width)}
    if NEUTRAL_BASIS in entries:
        components = entries[NEUTRAL_BASIS].shape[1:2]
        optional[NEUTRAL_BASIS] = (rows, *components, width)
    optional |= _readout_shapes(entries, config, name)
    for key, entry in entries.items():
        if key.startswith(RESERVED) and key not in optional:
            continue
        shape = expected.get(key) or optional.get(key)
        if shape is None:
            _bad(name, f"it holds a tensor {key[:70]!r} that its config does not mention")
        if entry.shape != shape:
            _bad(name, f"{key} has the shape {list(entry.shape)}, its config says {list(shape)}")
        if key == RESIDUAL_NORM and entry.dtype != "F32":
            _bad(name, f"{key} must be F32")
    if config.digests.keys() != entries.keys():
        odd = min(config.digests.keys() ^ entries.keys())
        _bad(name, f"its config and its tensors disagree about {odd[:70]!r}")


def _readout_shapes(entries: Mapping[str, _Entry], config: Config, name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of a readout, if there is one: a column an emotion, and two for valence and arousal."""
    weights = {f"{READOUT_WEIGHTS}{layer}" for layer in config.layers} & entries.keys()
    parts = set(READOUT_PARTS) & entries.keys()
    if not weights and not parts:
        return {}
    if not weights or len(parts) < len(READOUT_PARTS):
        _bad(name, "its readout is not complete")
    emotions = len(config.emotions)
    columns = emotions if entries[READOUT_PARTS[0]].shape == (emotions,) else emotions + 2
    return {
        **dict.fromkeys(READOUT_PARTS, (columns,)),
        **dict.fromkeys(weights, (config.base_model.hidden_size, columns)),
    }


def _config_beside(folder: Path) -> bytes:
    """`config.json`, which is for people and for the Hub, and must agree with the file."""
    file = folder / CONFIG_FILE
    if not file.exists():
        raise FormatError(
            f"There is no {CONFIG_FILE} beside {VECTORS_FILE} in {folder}.",
            f"The folder is not complete; the file {VECTORS_FILE} can be loaded on its own.",
        )
    if file.stat().st_size > LIMITS[CONFIG_FILE]:
        raise FormatError(f"{file} is larger than any config.")
    return file.read_bytes()
