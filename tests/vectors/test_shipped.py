"""The vectors in this repository: they are what the committed command makes of the committed concept set."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import emosteer
from emosteer.calibration import DIVERGENCE
from emosteer.embedded import MODEL_ID
from emosteer.errors import EmosteerWarning
from emosteer.reading.emotion_reading import token_scores
from emosteer.reading.fit import fit_readout
from emosteer.vectors.records import Record, put
from emosteer.vectors.shipped import SETS, shipped_folder

FOLDER = Path("vectors") / "smollm2-135m-instruct-en"


@pytest.fixture(scope="module")
def shipped():
    return emosteer.EmotionVectors.from_pretrained(FOLDER)


def test_they_are_of_the_concept_set_in_this_repository(shipped):
    concepts = emosteer.ConceptSet.load("en")
    assert shipped.emotions == concepts.emotions
    assert shipped.extraction["concepts_digest"] == concepts.digest  # else run `make vectors`
    assert shipped.base_model.repo_id == MODEL_ID
    assert shipped.base_model.weights_variant == "Q4_1 dequantised"
    assert shipped.layers == tuple(range(30))
    assert all(shipped.extraction["stability"][name] > 0.5 for name in shipped.emotions)


def test_the_card_shows_every_emotion_and_front_matter(shipped):
    card = (FOLDER / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: emosteer\n")
    assert all(f"\n| {name} | " in card for name in shipped.emotions)


def test_strength_1_moves_the_model_by_the_same_in_every_emotion_of_both_sets(shipped):
    other = emosteer.EmotionVectors.from_pretrained(shipped_folder(SETS["Qwen/Qwen2.5-Coder-1.5B-Instruct"]))
    for vectors in (shipped, other):
        assert set(vectors.doses) == set(vectors.emotions)
        for dose in vectors.doses.values():
            assert dose.calibration == "quick"
            assert dose.divergence == pytest.approx(DIVERGENCE, rel=0.01)


@pytest.mark.parametrize(("name", "dtype"), [*zip(SETS.values(), ("float32", "float16"), strict=True)])
def test_file_card_and_reports_beside_them_are_what_the_reports_make(name, dtype, tmp_path):
    """What was measured, taken out and put in again from the reports and figures that stand there."""
    source = shipped_folder(name)
    folder = shutil.copytree(source, tmp_path / "again")
    bare = replace(emosteer.EmotionVectors.from_pretrained(folder), measured={})
    reports = [file for file in ("steering.json", "alignment.json") if (source / file).exists()]
    (folder / "README.md").unlink()
    with pytest.warns(
        EmosteerWarning, match=r"Removed .* steering\.json, dose_response\.png.*" + ".*".join(reports[1:])
    ):
        bare.save_pretrained(folder, dtype=dtype)
    assert "## What strength" not in (folder / "README.md").read_text()
    put(folder, [Record.load(source / file) for file in reports])
    for file in source.iterdir():
        assert (folder / file.name).read_bytes() == file.read_bytes(), file.name  # else run `make vectors`
    assert (source / "steering.json").stat().st_size < 1_500_000
    assert sum(file.stat().st_size for file in source.iterdir()) < 12_000_000


@pytest.mark.embedded
@pytest.mark.slow
def test_extracting_them_again_gives_the_same_directions(shipped, embedded):
    again = emosteer.extract(*embedded, emosteer.ConceptSet.load("en"), progress=False)
    for name in shipped.emotions:
        cosine = (again.directions[name] * shipped.directions[name]).sum(-1)
        assert float(cosine.min()) > 0.9999, name
    assert again.residual_norm.allclose(shipped.residual_norm, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.embedded
def test_what_emotion_is_read_with_is_what_would_be_fitted_now(shipped, embedded):
    model, tokenizer = embedded
    fitted = fit_readout(model, tokenizer, shipped, progress=False)
    assert emosteer.SteeredModel(model, tokenizer, shipped).readout is shipped.readout
    text = tokenizer("I got the job! Then the lights went out and something breathed.")["input_ids"]
    torch.testing.assert_close(
        token_scores(shipped.readout, model, text)[1:], token_scores(fitted, model, text)[1:], atol=1e-2, rtol=1e-3
    )
    torch.testing.assert_close(shipped.readout.inertia, fitted.inertia, atol=1e-2, rtol=1e-2)
