"""Where commands write: refused at once, before a model is loaded, where something else is or would be lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import emosteer
from emosteer.models import loading
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer

SHIPPED = Path("vectors/smollm2-135m-instruct-en")
CALIBRATION = Path("tests/golden/calibration.json")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("places")
    tiny_model(tiny_config(max_position_embeddings=1024)).save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    emosteer.EmotionVectors.random(tiny_model(), ["joy", "calm"]).save_pretrained(root / "vectors")
    torch.save({"joy.1": torch.ones(32)}, root / "joy.pt")
    return root


@pytest.fixture
def unloaded(monkeypatch):
    """No model is loaded."""

    def load_model(*_args, **_options):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(loading, "load_model", load_model)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def refused(told: tuple[int, str, str], reason: str) -> None:
    status, out, err = told
    assert (status, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert reason in err


COMMANDS = {
    "extract": ("extract", "-m", "{saved}/model"),
    "calibrate": ("calibrate", "{saved}/vectors", "-m", "{saved}/model"),
    "transfer": ("transfer", "{saved}/vectors", "--from", "{saved}/model", "--to", "{saved}/model"),
    "import": ("import", "{saved}/joy.pt", "-m", "{saved}/model"),
}


def called(name: str, saved: Path, output: Path) -> list[str]:
    return [part.replace("{saved}", str(saved)) for part in COMMANDS[name]] + ["-o", str(output)]


def with_records(parent: Path) -> Path:
    """A folder of vectors with every record that there can be beside them."""
    folder = shutil.copytree(SHIPPED, parent / "mine")
    shutil.copy(CALIBRATION, folder)
    return folder


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("name", COMMANDS)
def test_a_models_folder_is_no_place_for_vectors(command_line, saved, tmp_path, name):
    folder = shutil.copytree(saved / "model", tmp_path / "model")
    before = contents(folder)
    refused(
        command_line(*called(name, saved, folder)), "config.json is there and is not emosteer's, but a model's (llama)"
    )
    assert contents(folder) == before
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "README.md").write_text("# A project\n")
    refused(command_line(*called(name, saved, tmp_path / "project")), "README.md is there and is not emosteer's")


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("name", COMMANDS)
def test_records_are_not_left_beside_other_vectors(command_line, saved, tmp_path, name):
    folder = with_records(tmp_path)
    before = contents(folder)
    lost = "steering.json and alignment.json" if name == "calibrate" else "calibration.json and steering.json and"
    refused(command_line(*called(name, saved, folder)), f"holds {lost}")
    assert contents(folder) == before


@pytest.mark.usefixtures("unloaded")
def test_records_that_are_written_anew_are_replaced(command_line, saved, tmp_path):
    folder = with_records(tmp_path)
    given = [part for name in ("steering", "alignment") for part in ("--measured", folder / f"{name}.json")]
    for doses in (["--calibrate"], ["--calibration", folder / "calibration.json"]):
        with pytest.raises(AssertionError, match="a model is loaded"):
            command_line(*called("extract", saved, folder), *given, *doses)
    with pytest.raises(AssertionError, match="a model is loaded"):
        command_line("calibrate", folder, "-m", saved / "model")  # in place


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        *(("steering", "steering.json"), ("steering", "confusion.png")),
        *(("alignment", "alignment.json"), ("alignment", "alignment.html"), ("alignment", "words-1.csv")),
    ],
)
def test_reports_replace_nothing_of_anybody_else(command_line, saved, tmp_path, name, file):
    (tmp_path / file).write_text(json.dumps({"wheel": "left"}))
    refused(
        command_line("eval", name, "-m", saved / "model", "-v", saved / "vectors", "-o", tmp_path),
        f"{file} is there and is not emosteer's",
    )
    assert (tmp_path / file).read_text() == '{"wheel": "left"}'


def test_a_control_vector_replaces_none_but_ours(command_line, saved, tmp_path):
    command = ("export", "gguf", saved / "vectors", "-e", "joy", "-o", tmp_path / "model.gguf")
    for content in (b"GGUF" + bytes(2_000), b"notes", b""):
        (tmp_path / "model.gguf").write_bytes(content)
        refused(command_line(*command), "model.gguf is there and is not emosteer's")
        assert (tmp_path / "model.gguf").read_bytes() == content
    (tmp_path / "model.gguf").unlink()
    assert command_line(*command)[0] == command_line(*command)[0] == 0
