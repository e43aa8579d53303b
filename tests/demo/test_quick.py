"""Gradio without the type stubs that it writes at every start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import emosteer

DEMO = Path(emosteer.__file__).parent / "demo"
COMPONENT = "import gradio\nclass Own(gradio.HTML):\n    EVENTS = ['click']\n"


def run(folder: Path, *lines: str) -> None:
    """Python with the demo and the folder's modules."""
    for name in ("before", "after"):
        (folder / f"{name}.py").write_text(COMPONENT)
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]\n" + "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_gradio_writes_a_stub_beside_each_component_but_not_for_who_imports_the_demo(tmp_path):
    run(
        tmp_path,
        "import before, emosteer.demo, after",
        "import gradio",
        "with gradio.Blocks(): after.Own().click(print)",
    )
    assert [path.name for path in tmp_path.glob("*.pyi")] == ["before.pyi"]


@pytest.mark.slow
def test_nor_when_the_demo_is_there_first(tmp_path):
    run(
        tmp_path,
        "import emosteer.demo, after",
        "from emosteer.demo.figures.pad import Pad",
        "import gradio",
        "with gradio.Blocks():",
        "    Pad(emotions=[]).release(print)",
        "    after.Own().click(print)",
    )
    assert not list(tmp_path.glob("*.pyi"))
    assert not list(DEMO.rglob("*.pyi"))
