"""JSON that may come from a stranger: `Schema` refuses what is not right, `lenient` leaves it out."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from emosteer.errors import FormatError

MAX_ITEMS = 1_000
"""Entries of a list that `lenient` reads, as many as a file may have emotions."""

MAX_NUMBER = 1e9
"""Numbers that are not below it are left out; none that is measured comes near it."""

__all__ = ["Schema", "lenient"]


@dataclass(frozen=True)
class Schema:
    """The checks of one kind of document. Each takes a value and how to call it in a message.

    Args:
        document: What the document should be, for messages: "a valid emosteer vector file".
        hint: What to do when it is not.
    """

    document: str
    hint: str | None = None

    def fail(self, problem: str, hint: str | None = None) -> NoReturn:
        """Refuse the document.

        Raises:
            FormatError: Always.
        """
        raise FormatError(f"This is not {self.document}: {problem}.", hint or self.hint)

    def mapping(self, value: Any, name: str, fields: set[str] | None = None) -> dict[str, Any]:
        """Check an object, and that it has exactly these fields if they are given."""
        if not isinstance(value, dict):
            self.fail(f"{name} is not an object")
        if fields is not None and (odd := sorted(fields ^ set(value))):
            self.fail(f"{name} lacks or should not have {odd[0][:70]!r}")
        return value

    def listed(self, value: Any, name: str) -> list[Any]:
        """Check a list."""
        if not isinstance(value, list):
            self.fail(f"{name} is not a list")
        return value

    def text(self, value: Any, name: str) -> str:
        """Check a short printable text."""
        if not isinstance(value, str) or len(value) > 1_000 or not value.isprintable():
            self.fail(f"{name} is not a short printable text")
        return value

    def optional_text(self, entry: Mapping[str, Any], key: str, name: str | None = None) -> str | None:
        """Check a field that is a short printable text, null or missing."""
        return None if entry.get(key) is None else self.text(entry[key], name or key)

    def choice(self, value: Any, name: str, choices: Sequence[str]) -> str:
        """Check one of a few texts."""
        if value not in choices:
            self.fail(f"{name} is {str(value)[:40]!r}, expected one of {', '.join(choices)}")
        return str(value)

    def whole(self, value: Any, name: str, low: int, high: int) -> int:
        """Check a whole number from `low` to `high`."""
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(f"{name} is not a whole number from {low} to {high}")
        return value

    def number(self, value: Any, name: str, low: float, high: float) -> float:
        """Check a number from `low` to `high`, which neither NaN nor infinities are."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            self.fail(f"{name} is not a number from {low:g} to {high:g}")
        return float(value)

    def optional_number(self, value: Any, name: str, low: float, high: float) -> float | None:
        """Check a number as `number` does, or None."""
        return None if value is None else self.number(value, name, low, high)

    def numbers(self, value: Any, name: str, low: float, high: float) -> tuple[float, ...]:
        """Check a list of numbers from `low` to `high`."""
        return tuple(self.number(item, name, low, high) for item in self.listed(value, name))

    def layers(self, value: Any, name: str, depth: int) -> tuple[int, ...]:
        """Check a rising list of layers of a model with `depth` of them, at least one."""
        layers = tuple(self.whole(layer, f"{name}: a layer", 0, depth - 1) for layer in self.listed(value, name))
        if not layers or list(layers) != sorted(set(layers)):
            self.fail(f"{name}: layers are missing or do not rise")
        return layers


def lenient(kind: Any, value: Any) -> Any:
    """Return what of some JSON fits a type hint, or None.

    Of lists and objects, the entries that fit are kept. A dataclass is None where a field without a default is missing
    or does not fit.

    Args:
        kind: A dataclass, `tuple[T, ...]`, `Mapping[str, T]`, `T | None`, str, int or float.
        value: JSON of any shape.
    """
    item, origin = get_args(kind), get_origin(kind)
    if is_dataclass(kind):
        return _lenient_dataclass(kind, value) if isinstance(value, dict) else None
    if origin is types.UnionType:
        return lenient(item[0], value)
    if origin is tuple and isinstance(value, list):
        entries = (lenient(item[0], entry) for entry in value[:MAX_ITEMS])
        return tuple(entry for entry in entries if entry is not None)
    if origin is Mapping and isinstance(value, dict):
        named = {name: lenient(item[1], entry) for name, entry in value.items()}
        return {name: entry for name, entry in named.items() if entry is not None}
    if kind in (int, float):
        is_number = isinstance(value, kind | int) and not isinstance(value, bool) and abs(value) < MAX_NUMBER
        return kind(value) if is_number else None
    return value if kind is str and isinstance(value, str) else None


def _lenient_dataclass(kind: Any, value: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    parsed = {field.name: lenient(hints[field.name], value.get(field.name)) for field in fields(kind)}
    parsed = {name: entry for name, entry in parsed.items() if entry is not None}
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    return kind(**parsed) if required <= parsed.keys() else None


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
