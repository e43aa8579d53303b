"""Where the shipped vectors are found: inside an installed package, beside it in a clone, or nowhere."""

from __future__ import annotations

import pytest

import emosteer
from emosteer.errors import InputError
from emosteer.vectors import shipped


@pytest.mark.parametrize("parent", ["site-packages/emosteer/_shipped", "site-packages/vectors"])
def test_a_set_is_found_in_a_wheel_and_in_a_clone(parent, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path / "site-packages" / "emosteer")
    folder = tmp_path / parent / "some-set"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="does not contain the vectors some-set"):
        shipped.shipped_folder("some-set")  # a folder without vectors is none
    (folder / "vectors.safetensors").touch()
    assert shipped.shipped_folder("some-set") == folder


@pytest.mark.parametrize("model", shipped.SETS)
def test_this_clone_has_the_sets_of_the_models_that_are_named(model):
    vectors = emosteer.EmotionVectors.from_pretrained(shipped.shipped_folder(shipped.SETS[model]))
    assert model in ("embedded", vectors.base_model.repo_id)
