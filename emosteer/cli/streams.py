"""Standard input, output and error, whatever the caller has made of them: closed, in ASCII, a pipe nobody reads."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO, cast

from emosteer._util.text import decoded
from emosteer.errors import InputError

_LIKE = {"−": "-", "–": "-", "’": "'", "…": "...", "±": "+-", "²": "^2", "σ": "sd", "×": "x"}
"""What stands for a character that a stream cannot hold; for any other, a question mark."""

__all__ = ["flush", "holds_any_text", "prepare", "read_input"]


def prepare() -> None:
    """Open the streams that are closed, so that no file takes their place, and let the others take any character."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = _closed(name)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    codecs.register_error("emosteer", _alike)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="emosteer")


def holds_any_text() -> bool:
    """Return whether standard output can hold any character, as only Unicode's encodings can."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return codecs.lookup(encoding).name.startswith("utf")


def read_input() -> str:
    """Return the text on standard input, without the end of its last line.

    Raises:
        InputError: It is not text.
    """
    try:
        text = decoded(sys.stdin.buffer.read())
    except ValueError as error:
        raise InputError(f"Standard input, {error}.", "Convert it first, with iconv for example.") from None
    return io.StringIO(text, newline=None).read().removesuffix("\n")


def flush() -> None:
    """Write out what is left in standard output.

    Raises:
        BrokenPipeError: Nobody reads it.
        OSError: It cannot be written, to a full disk for example.
    """
    streams = cast("tuple[TextIO | None, ...]", (sys.stderr, sys.__stderr__, sys.stdout, sys.__stdout__))
    for stream in filter(None, streams):
        try:
            stream.flush()
        except OSError:
            # What is left goes nowhere, or the interpreter would try again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream in (sys.stdout, sys.__stdout__):
                raise


def _closed(name: str) -> TextIO:
    """Return a stream for one that is closed: it has nothing to read, and whoever should read the output has gone."""
    if name != "stdout":
        return open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: PTH123
    read, write = os.pipe()
    os.dup2(write, read)  # the lower number, that of standard output; nothing reads any more
    os.close(write)
    return open(read, "w", encoding="utf-8")  # noqa: PTH123


def _alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_LIKE.get(character, "?") for character in error.object[error.start : error.end]), error.end
