"""Emotion vectors from the steering-vector files of other libraries."""

from emosteer.importing.files import ForeignFile, read
from emosteer.importing.importer import convert, load

__all__ = ["ForeignFile", "convert", "load", "read"]
