"""A few values of many tensors, and whether what stands after the last block is still the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import emosteer
from emosteer.models.weights import VALUES, head_state, modules_below, sampled, tensors_of
from tests.conftest import tiny_model


def test_all_modules_and_tensors_are_found_and_none_of_what_is_left_out():
    model = tiny_model()
    assert set(modules_below(model)) == set(model.modules())
    assert {id(t) for t in tensors_of(modules_below(model))} == {id(t) for t in (*model.parameters(), *model.buffers())}
    without = modules_below(model, model.model.layers)
    assert set(model.modules()) - set(without) == set(model.model.layers.modules())


def test_values_are_spread_over_a_tensor_whatever_its_dtype_and_length():
    tensors = [torch.arange(31.0), torch.arange(31.0).double().view(1, 31), torch.tensor([3.0]), -torch.arange(31.0)]
    expected = torch.arange(0.0, 31.0, 2.0).bfloat16()
    first, second, one, negative = (torch.frombuffer(bytearray(b), dtype=torch.bfloat16) for b in sampled(tensors))
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)
    assert torch.equal(negative, -expected)
    assert one.tolist() == [3.0] * VALUES


def test_a_head_that_is_left_alone_has_one_state_whatever_happens_in_the_blocks():
    model = tiny_model()
    vectors = emosteer.EmotionVectors.random(model, ["joy"], seed=1)
    state = head_state(model)
    assert head_state(copy.deepcopy(model)) != state  # other tensors
    with emosteer.steer(model, vectors, {"joy": 1.0}):
        assert head_state(model) == state
    model.model.layers[0].mlp.up_proj.weight.data.mul_(2)
    model.generate(torch.arange(10, 14)[None], max_new_tokens=3, do_sample=False, pad_token_id=0)
    assert head_state(model.train()) == head_state(model.eval()) == state


@pytest.mark.parametrize("name", ["model.norm", "lm_head", "model.embed_tokens"])
def test_every_change_of_the_head_shows(name):
    model = tiny_model()
    module = model.get_submodule(name)
    seen = [head_state(model)]

    def plain():
        module.scaling = {"one": 0.5}

    def deeper():
        module.scaling["one"] = 0.25

    def behind():
        module.weight.data.mul_(2)

    def in_place():
        with torch.no_grad():
            module.weight[0].add_(1)

    def hooked():
        module.register_forward_hook(lambda *_: None)

    def replaced():
        module.weight = nn.Parameter(module.weight.detach())

    for change in (plain, deeper, behind, in_place, hooked, replaced, lambda: model.to(torch.bfloat16)):
        change()
        if change is not replaced:  # the same values in the same place
            assert all(head_state(model) != state for state in seen)
        seen.append(head_state(model))
        assert head_state(model) == seen[-1]


def test_weights_that_are_not_there_or_of_whole_numbers_are_no_error():
    with torch.device("meta"):
        model = tiny_model()
    model.model.register_buffer("counts", torch.arange(3))
    assert head_state(model) == head_state(model)
