"""Gradio without the type stubs.

Whenever gradio is imported it works out a type stub for each component and writes what changed beside the sources, for
editors: a third of the time that its import takes, before there is any page (`make bench-demo` measures both). Who
imports this module first is spared that; nothing else of gradio is touched.
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
    """Finds the module that writes the stubs, and has it write none."""

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
