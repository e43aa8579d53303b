"""Faster import of gradio.

When gradio is imported, it generates a type stub for each component, for editors. That takes a third of its import time
(`make bench-demo` measures both). Importing this module first turns that off, and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WRITER = "gradio.component_meta"


class _WithoutStubs(MetaPathFinder):
    """Finder of the module that writes the stubs, which it disables."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == WRITER else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            _silence(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def _silence(writer: Any) -> None:
    writer.create_or_modify_pyi = lambda *_: None


if WRITER in sys.modules:
    _silence(sys.modules[WRITER])
else:
    sys.meta_path.insert(0, _WithoutStubs())
