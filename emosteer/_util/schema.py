"""Checks of JSON that may come from a stranger: field by field, with an error that names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from emosteer.errors import FormatError

__all__ = ["Schema"]


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
