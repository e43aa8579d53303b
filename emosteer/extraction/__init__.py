"""Concept sets → emotion vectors."""

from emosteer.extraction.extractor import extract
from emosteer.extraction.methods import METHODS

__all__ = ["METHODS", "extract"]
