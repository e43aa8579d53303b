"""The fingerprint of a model, against a plain computation of it, after every way in which weights change."""

from __future__ import annotations

import copy
import gc
import hashlib
import weakref

import numpy as np
import pytest
import torch
from torch import nn

import emosteer
from emosteer.errors import EmosteerWarning
from emosteer.models.fingerprint import base_model_of
from tests.conftest import tiny_model


def by_hand(blocks) -> str:
    """16 values, evenly spread, of each of up to 64 parameters in the order of their names."""
    parameters = sorted(blocks.named_parameters())
    digest = hashlib.sha256()
    for name, parameter in parameters[:: max(1, len(parameters) // 64)][:64]:
        flat = parameter.detach().flatten()
        places = [int(place) for place in np.linspace(0, len(flat) - 1, 16, dtype=np.float32)]
        sample = torch.stack([flat[place] for place in places]).bfloat16()
        digest.update(name.encode() + bytes(sample.view(torch.uint8)))
    return digest.hexdigest()


def blocks_of(model):
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.model.layers


def in_place(model):
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(2)


def behind_its_version(model):
    model.model.layers[1].mlp.up_proj.weight.data.mul_(2)


def another_tensor(model):
    weight = model.model.layers[1].mlp.up_proj.weight
    weight.data = weight.data * 2


def another_parameter(model):
    linear = model.model.layers[1].mlp.up_proj
    linear.weight = nn.Parameter(linear.weight.detach() * 2)


def another_state(model):
    model.load_state_dict({name: tensor * 2 for name, tensor in model.state_dict().items()})


def another_block(model):
    model.model.layers[1] = copy.deepcopy(model.model.layers[0])


def trained(model):
    model(input_ids=torch.arange(10, 20)[None], labels=torch.arange(10, 20)[None]).loss.backward()
    torch.optim.SGD(model.parameters(), lr=10.0).step()


def in_inference_mode(model):
    with torch.inference_mode():
        model.model.layers[1].mlp.up_proj.weight.mul_(2)


CHANGES = [
    in_place,
    behind_its_version,
    another_tensor,
    another_parameter,
    another_state,
    another_block,
    trained,
    in_inference_mode,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_of_the_weights_changes_the_fingerprint(change):
    model = tiny_model()
    vectors = emosteer.EmotionVectors.random(model, ["joy"], seed=1)
    first = base_model_of(model).fingerprint
    assert first == by_hand(blocks_of(model)) == base_model_of(model).fingerprint
    change(model)
    assert base_model_of(model).fingerprint == by_hand(blocks_of(model)) != first
    with pytest.warns(EmosteerWarning, match="other weights"):
        emosteer.steer(model, vectors, {"joy": 1.0})


def test_a_cast_and_a_copy_have_the_same_fingerprint():
    model = tiny_model()
    first = base_model_of(model).fingerprint
    assert base_model_of(copy.deepcopy(model)).fingerprint == first
    assert base_model_of(model.double()).fingerprint == base_model_of(model.bfloat16()).fingerprint == first


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of peft and what it imports
def test_an_adapter_that_is_added_merged_and_taken_out_shows():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    model = peft.get_peft_model(tiny_model(), config)
    seen = [base_model_of(tiny_model()).fingerprint]
    steps = (lambda: None, model.merge_adapter, model.unmerge_adapter)
    for step in steps:
        step()
        seen.append(base_model_of(model).fingerprint)
        assert seen[-1] == by_hand(blocks_of(model))
    plain, added, merged, _ = seen
    assert len({plain, added, merged}) == 3


def test_which_weights_to_read_is_looked_up_once_and_the_model_is_let_go(monkeypatch):
    model = tiny_model()
    first = base_model_of(model).fingerprint
    monkeypatch.setattr(nn.Module, "named_parameters", None)
    assert base_model_of(model).fingerprint == first
    monkeypatch.undo()
    gone = weakref.ref(model.model.layers)
    del model
    gc.collect()
    assert gone() is None
