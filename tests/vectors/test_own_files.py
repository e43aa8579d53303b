"""Nothing that is not emosteer's is replaced, and no record stays beside vectors that it is not of."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from emosteer import Calibration, EmotionVectors
from emosteer._util.atomic import write_folder
from emosteer._util.own_files import is_own, require_own
from emosteer.calibration.results import sample_of
from emosteer.errors import EmosteerWarning, InputError
from emosteer.vectors.records import Record, put
from tests.conftest import tiny_model

SHIPPED = Path("vectors/smollm2-135m-instruct-en")
CALIBRATION = Path("tests/golden/calibration.json")  # of all emotions, by answers
MODEL_CARD = "---\nlibrary_name: transformers\nlicense: mit\n---\n\n# A model\n"


@pytest.fixture(scope="module")
def plain() -> EmotionVectors:
    return EmotionVectors.random(tiny_model(), ["joy", "calm"])


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def foreign_safetensors(path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, path)


FOREIGN = {
    "a model's config": ("config.json", {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}),
    "a config of something": ("config.json", {"a": 1}),
    "a config that is no JSON": ("config.json", "{"),
    "a list for a config": ("config.json", []),
    "other tensors": ("vectors.safetensors", foreign_safetensors),
    "no tensors": ("vectors.safetensors", "mine"),
    "a model's card": ("README.md", MODEL_CARD),
    "a project's page": ("README.md", "# My project\n\nRead me.\n"),
    "a data set's card": ("README.md", "---\nlicense: mit\n---\n\n# Data\n"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_saving_vectors_replaces_nothing_of_anybody_else(plain, tmp_path, case):
    name, content = FOREIGN[case]
    if callable(content):
        content(tmp_path / name)
    else:
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"{name} is there and is not emosteer's") as caught:
        plain.save_pretrained(tmp_path)
    assert ("but a model's (llama)" in str(caught.value)) == (case == "a model's config")
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_models_folder_is_left_as_it_was(plain, tmp_path):
    model = tiny_model()
    model.save_pretrained(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"config\.json is there and is not emosteer's, but a model's \(llama\)"):
        plain.save_pretrained(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("card", ["", "---\nlicense: mit\n---\n", None])
def test_a_new_repository_and_earlier_vectors_are_a_place_for_vectors(plain, tmp_path, card):
    if card is None:
        plain.save_pretrained(tmp_path)
        (tmp_path / "README.md").write_text("# My vectors\n\nBy hand.\n")  # beside vectors, it is their card
    else:
        (tmp_path / "README.md").write_text(card)
    plain.save_pretrained(tmp_path)
    assert EmotionVectors.from_pretrained(tmp_path).emotions == ("joy", "calm")
    assert ("By hand." in (tmp_path / "README.md").read_text()) == (card is None)


def test_everything_that_is_shipped_is_ours():
    assert all(is_own(file) for file in SHIPPED.iterdir())


def test_what_is_of_no_kind_is_not_ours(tmp_path):
    for name in ("confusion.png", "alignment.html", "words-1.csv", "x.gguf", "notes.txt", "steering.json"):
        (tmp_path / name).write_bytes(b"GGUF" + bytes(100))
        assert not is_own(tmp_path / name)
        with pytest.raises(InputError, match="not emosteer's"):
            require_own(tmp_path, [name])
    shutil.copyfile(SHIPPED / "steering.json", tmp_path / "steering.json")
    assert is_own(tmp_path / "confusion.png")
    assert not is_own(tmp_path / "missing.json")
    assert not is_own(tmp_path / ("x" * 5_000))


def test_records_replace_nothing_of_anybody_else(tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "mine")
    record = Record.load(SHIPPED / "steering.json")
    (folder / "steering.json").write_text("{}")
    before = contents(folder)
    with pytest.raises(InputError, match=r"steering\.json is there and is not emosteer's"):
        put(folder, [record])
    (tmp_path / "calibration.json").write_text('{"camera": 1}')
    with pytest.raises(InputError, match=r"calibration\.json is there and is not emosteer's"):
        Calibration.load(CALIBRATION).save(tmp_path)
    assert contents(folder) == before
    assert (tmp_path / "calibration.json").read_text() == '{"camera": 1}'


# Records of other vectors.


def test_vectors_of_other_doses_are_not_saved_beside_a_calibration(plain, tmp_path):
    folder, record = tmp_path / "mine", Calibration.load(CALIBRATION)
    vectors = replace(EmotionVectors.from_pretrained(SHIPPED), measured={})
    sampled = {name: sample_of(vectors, name, record.layers, record.weights) for name in record.emotions}
    of_these = {name: replace(result, sample=sampled[name]) for name, result in record.emotions.items()}
    record = replace(record, emotions=of_these)
    calibrated = record.apply(vectors)
    calibrated.save_pretrained(folder)
    record.save(folder)
    before = contents(folder)
    for other in (plain, replace(calibrated, doses={}), calibrated.scale(2)):
        with pytest.raises(InputError, match=r"calibration\.json is the record of other doses.*move it"):
            other.save_pretrained(folder)
        assert contents(folder) == before
    calibrated.select(["joy", "calm"]).save_pretrained(folder)  # whose doses they are
    assert (folder / "calibration.json").read_bytes() == before["calibration.json"]


def test_reports_on_other_vectors_go_with_those(plain, tmp_path):
    folder = shutil.copytree(SHIPPED, tmp_path / "mine")
    (folder / "notes.txt").write_text("mine")
    kept = EmotionVectors.from_pretrained(folder)
    alignment = {"alignment": kept.measured["alignment"]}
    with pytest.warns(EmosteerWarning, match=r"Removed from .*: steering\.json, dose_response\.png, confusion\.png"):
        replace(kept, measured=alignment).save_pretrained(folder)
    assert not {"steering.json", "dose_response.png", "confusion.png", "tone_and_cost.png"} & contents(folder).keys()
    assert {"alignment.json", "alignment_scree.png"} <= contents(folder).keys()
    with pytest.warns(EmosteerWarning, match=r"alignment\.json, alignment_circumplex\.png"):
        plain.save_pretrained(folder)
    assert set(contents(folder)) == {"vectors.safetensors", "config.json", "README.md", "notes.txt"}


def test_files_that_are_not_ours_are_not_removed(plain, tmp_path):
    plain.save_pretrained(tmp_path)
    for name in ("steering.json", "confusion.png"):
        (tmp_path / name).write_text("{}")
    plain.save_pretrained(tmp_path)
    assert (tmp_path / "steering.json").read_text() == (tmp_path / "confusion.png").read_text() == "{}"


@pytest.mark.parametrize("step", range(6))
def test_files_are_written_and_removed_together_or_not_at_all(tmp_path, monkeypatch, step):
    before = {"a": b"old", "stale": b"1", "more": b"2"}
    write_folder(tmp_path, before)
    original, calls = os.replace, []

    def failing(*args):
        calls.append(args)
        if len(calls) == step + 1:
            raise OSError(28, "No space left on device")
        return original(*args)

    monkeypatch.setattr(os, "replace", failing)
    try:
        write_folder(tmp_path, {"a": b"new", "b": b"new"}, without=["stale", "more", "never"])
    except InputError:
        assert contents(tmp_path) == before
    else:
        assert step > 3
        assert contents(tmp_path) == {"a": b"new", "b": b"new"}
