"""Fluency, prompts and the embedding judge."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch

import emosteer
from emosteer.errors import FormatError, InputError
from emosteer.eval import EmbeddingJudge, load_prompts, nats_per_token, train_judge
from emosteer.eval.judges import SentenceEncoder

BASIC = ("joy", "sadness", "anger", "fear", "disgust", "surprise")


@pytest.fixture(scope="module")
def judge():
    return EmbeddingJudge()


def test_nats_per_token_is_the_mean_of_the_answers_surprisals(model, tokenizer, vectors):
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Well?"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    answer = tokenizer("Good, thanks.", add_special_tokens=False, return_tensors="pt")["input_ids"]
    total = torch.zeros(())
    for i in range(answer.shape[1]):  # one token after the other, as the model would say it
        logits = model(torch.cat([prompt, answer[:, :i]], dim=1)).logits[0, -1]
        total -= logits.log_softmax(-1)[answer[0, i]].detach()
    expected = float(total) / answer.shape[1]
    assert nats_per_token(steered, "Well?", "Good, thanks.") == pytest.approx(expected, rel=1e-5)


def test_an_empty_answer_has_no_cost(model, tokenizer, vectors):
    assert math.isnan(nats_per_token(emosteer.SteeredModel(model, tokenizer, vectors), "Well?", ""))


def test_prompts_are_sixty_and_sixty_without_overlap_or_feeling():
    development, held_out = load_prompts("development"), load_prompts("held_out")
    assert len(development) == len(held_out) == 60
    assert len({*development, *held_out}) == 120
    concepts = emosteer.ConceptSet.load("en")
    family = {word for name in concepts.emotions for word in concepts[name].texts["en"].word_family}
    for prompt in (*development, *held_out):
        assert not family & set(re.findall(r"[a-z]+", prompt.lower())), prompt


def test_the_encoder_is_the_mean_over_tokens_at_unit_length_whatever_the_batch():
    encoder = SentenceEncoder()
    texts = ["A short one.", "A text that is quite a bit longer than the first one, with a comma in it."]
    both = encoder.encode(texts)
    for text, row in zip(texts, both, strict=True):
        batch = encoder._tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            alone = encoder._model(**batch).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(row, (alone / alone.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("emotion", "text"),
    [
        ("joy", "I am so happy today, this is wonderful!"),
        ("sadness", "I cried all night because he is gone and I miss him."),
        ("anger", "How dare you! I am furious with all of you!"),
        ("fear", "I am terrified, something is moving in the dark."),
        ("disgust", "Ugh, that is disgusting, it smells of rot and vomit."),
        ("surprise", "Wow, I did not expect that at all!"),
    ],
)
def test_the_judge_hears_plain_cases(judge, emotion, text):
    found = judge.probabilities([text], BASIC)
    assert max(found, key=lambda name: found[name][0]) == emotion


def test_probabilities_sum_to_one_over_the_choice(judge):
    found = judge.probabilities(["One.", "Two."])
    assert set(found) == set(judge.labels)
    np.testing.assert_allclose(sum(found.values()), 1, rtol=1e-5)
    np.testing.assert_allclose(sum(judge.probabilities(["One."], BASIC).values()), 1, rtol=1e-5)


def test_an_emotion_that_the_judge_does_not_know_is_named(judge):
    with pytest.raises(InputError, match="schadenfreude"):
        judge.probabilities(["x"], ["schadenfreude"])


@pytest.mark.parametrize("content", ["", "{}", '{"labels": ["a"], "weights": 3}', '{"labels": 1}'])
def test_a_file_that_is_no_head_is_refused(tmp_path, content):
    (tmp_path / "head.json").write_text(content)
    with pytest.raises(FormatError, match="head"):
        EmbeddingJudge(tmp_path / "head.json")


def test_training_makes_a_head_that_learned(tmp_path, capsys, monkeypatch):
    """On a handful of rows in GoEmotions' form; the real data set is not in the repository."""
    labels = ["joy", "fear", "disgust"]
    said = ["So happy and glad", "I am scared of it", "How disgusting", "What joy", "Terrified, help", "Vomit and rot"]
    rows = [f"{text}\t{i % 3}\tid{i}" for i, text in enumerate(said)]
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join([*rows, "left out, as it has two labels\t0,1\te"]) + "\n")
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    monkeypatch.setattr(train_judge, "BASIC", tuple(labels))
    train_judge.main(tmp_path, tmp_path / "head.json")
    assert "accuracy 1.000" in capsys.readouterr().out
    assert json.loads((tmp_path / "head.json").read_text())["trained_on"].startswith("GoEmotions train, 6 texts")
