"""The vectors in this repository: they are what the committed command makes of the committed concept set."""

from __future__ import annotations

from pathlib import Path

import pytest

import emosteer
from emosteer.embedded import MODEL_ID

FOLDER = Path(__file__).parent.parent / "vectors" / "smollm2-135m-instruct-en"


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


def test_every_dose_is_the_calibrated_one_that_the_record_beside_it_gives(shipped):
    record = emosteer.Calibration.load(FOLDER / "calibration.json")
    assert record.apply(shipped).doses == shipped.doses
    assert set(shipped.doses) == set(shipped.emotions)
    assert all(0 < dose.cost <= dose.budget + 1e-3 for dose in shipped.doses.values())


@pytest.mark.embedded
@pytest.mark.slow
def test_extracting_them_again_gives_the_same_directions(shipped, embedded):
    again = emosteer.extract(*embedded, emosteer.ConceptSet.load("en"), progress=False)
    for name in shipped.emotions:
        cosine = (again.directions[name] * shipped.directions[name]).sum(-1)
        assert float(cosine.min()) > 0.9999, name
    assert again.residual_norm.allclose(shipped.residual_norm, rtol=1e-3)
