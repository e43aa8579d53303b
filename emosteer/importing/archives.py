"""Zip archives from strangers, which both .npz and torch.save write."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

from emosteer.errors import FormatError
from emosteer.importing.contents import MAX_BYTES

# What zipfile raises for damage; RuntimeError: an entry with a password.
_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, ValueError, EOFError, RuntimeError, OSError)

__all__ = ["open_archive", "read_entry"]


def open_archive(data: bytes, name: str) -> zipfile.ZipFile:
    """Open a zip archive and check the sizes that it declares.

    Args:
        data: The archive.
        name: Name of the file, for errors.

    Raises:
        FormatError: The archive is damaged, has a name twice, or would unpack to more than `MAX_BYTES`.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ERRORS as error:
        raise FormatError(f"{name} is a damaged zip archive ({error}).", "Copy it again.") from error
    entries = archive.infolist()
    if len({entry.filename for entry in entries}) < len(entries):
        raise FormatError(f"{name} has two entries of the same name.")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise FormatError(f"{name} is packed in a way that no library packs vectors.", "Expected stored or deflated.")
    if (total := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        raise FormatError(f"{name} would unpack to {total} bytes, expected at most {MAX_BYTES}.")
    return archive


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> bytes:
    """Return the content of an entry, and never more bytes than it declares.

    Args:
        archive: From `open_archive`.
        entry: The entry.
        name: Name of the file, for errors.

    Raises:
        FormatError: The entry is damaged.
    """
    try:
        with archive.open(entry) as stream:
            return stream.read(entry.file_size)  # without a size, up to 2 GiB would be unpacked first
    except _ERRORS as error:
        raise FormatError(f"{name} is damaged at {entry.filename[:70]!r} ({error}).", "Copy it again.") from error
