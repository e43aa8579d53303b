"""Steering vectors that other libraries made → emotion vectors."""

from emosteer.importing.files import ForeignFile, read
from emosteer.importing.importer import convert, load

__all__ = ["ForeignFile", "convert", "load", "read"]
