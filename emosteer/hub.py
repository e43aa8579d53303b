"""The Hub."""

from __future__ import annotations

from pathlib import Path


def is_remote(source: str | Path) -> bool:
    """Is this a repository on the Hub?"""
    return False


class Pushed: ...


class Repository: ...
