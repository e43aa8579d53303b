"""Is the tone real? The committed benchmark, on fewer prompts; the full figures stand in the README."""

from __future__ import annotations

import pytest

from tests.benchmarks.tone import measure


@pytest.mark.embedded
@pytest.mark.slow
def test_a_toned_answer_carries_more_of_the_emotion_than_the_plain_one():
    rows = measure(n_prompts=8, n_seeds=1, split="development", controls=False)
    mean = rows[-1]
    assert mean["emotion"] == "mean"
    assert mean["n"] == 48
    assert mean["more_than_plain"] >= 0.7
    assert mean["hit_rate"] >= 0.35  # chance is 1 in 6
    assert mean["cost_nats"] <= 1.0
