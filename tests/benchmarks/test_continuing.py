"""What benchmarks of text generation rest on: the cost of many answers at once, the search for a strength, resuming."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import emosteer
from emosteer.eval import nats_per_token
from tests.benchmarks.continuing import continued, nats
from tests.benchmarks.peers import BUDGETS, Answers, Bench, towards

QUESTIONS = ["Well?", "How are you today then?", "And?"] * 7
ANSWERS = ["Good, thanks.", "ok", "this one is a good deal longer"] * 7


def test_many_answers_cost_what_each_costs_alone(model, tokenizer, vectors):
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    prompts = [steered.prompt(question)["input_ids"][0].tolist() for question in QUESTIONS]
    answers = tokenizer([*ANSWERS[:-1], ""], add_special_tokens=False)["input_ids"]
    found = nats(model, prompts, answers)
    alone = [nats_per_token(steered, *pair) for pair in zip(QUESTIONS, ANSWERS[:-1], strict=False)]
    np.testing.assert_allclose(found[:-1], alone, rtol=1e-5)
    assert np.isnan(found[-1])


def test_what_is_said_ends_before_the_token_that_ends_it(model, tokenizer):
    ends, pads = tokenizer.eos_token_id, tokenizer.pad_token_id
    said = tokenizer("Yes.", add_special_tokens=False)["input_ids"]

    def generate(input_ids, **_):
        tail = torch.tensor([[*said, ends, pads], [ends, *[pads] * (len(said) + 1)]])
        return torch.cat([input_ids, tail], dim=1)

    found = continued(model, tokenizer, ["<s> Well?", "<s> A longer one?"], 0, generate=generate)
    assert found.tokens == [said, []]
    assert found.texts == [tokenizer.decode(said), ""]
    assert np.isnan(found.nats).tolist() == [False, True]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("scale", [0.002, 0.2, 40.0])
def test_a_strength_that_meets_the_budget_is_found_in_a_few_tries(budget, scale):
    costs = {}
    for _ in range(5):
        strength = towards(costs, budget, 1.0)
        costs[strength] = scale * strength**2
    assert any(0.85 * budget <= cost <= budget for cost in costs.values())


class Method:
    """Costs grow with the square of the strength; hits grow with it, and layer "b" hits more than "a"."""

    name, source, layers = "method", "1", ("a", "b")

    def start(self, layers):
        return 1.0

    def generate(self, emotion, layers, strength):
        return None


def test_the_highest_hit_rate_within_a_budget_is_chosen():
    class Tried(Bench):
        def __init__(self):
            pass

        def steered(self, method, emotion, layers, strength, questions, seeds):
            rate = strength * (2 if layers == "b" else 1)
            return {"goemotions": np.array([rate])}, np.array([strength**2])

    class Progress:
        def update(self):
            pass

    chosen = Tried().choose(Method(), "joy", [], 3, Progress())
    assert set(chosen) == set(BUDGETS)
    for budget, (layers, strength) in chosen.items():
        assert layers == "b"
        assert 0.85 * budget <= strength**2 <= budget


def test_a_run_that_was_broken_off_goes_on(tmp_path, model, tokenizer):
    file = tmp_path / "kept" / "answers.jsonl"
    first = Answers(file, model, tokenizer)("plain", QUESTIONS[:2], 0)
    with file.open("a") as stream:
        stream.write('\n{"what": "plain", "texts": ["brok')

    def never(**inputs):
        raise AssertionError("made again")

    again = Answers(file, model, tokenizer)("plain", QUESTIONS[:2], 0, never)
    assert (again.texts, again.tokens) == (first.texts, first.tokens)
    np.testing.assert_array_equal(again.nats, first.nats)
    other = Answers(file, model, tokenizer)("plain", QUESTIONS[:2], 1)
    assert other.tokens != first.tokens
    assert Answers(file, model, tokenizer)("plain", QUESTIONS[:2], 1, never).tokens == other.tokens
