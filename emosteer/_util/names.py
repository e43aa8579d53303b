"""Patterns of the names that files and callers use."""

from __future__ import annotations

import re

EMOTION_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
NAME_RULE = "Use lower-case letters, digits, - and _, a letter first, at most 64."

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)

__all__ = ["EMOTION_NAME", "LANGUAGE", "NAME_RULE", "is_repo_id"]


def is_repo_id(name: str) -> bool:
    """Return whether this could be the name of a repository on the Hub."""
    return _REPO_ID.fullmatch(name) is not None
