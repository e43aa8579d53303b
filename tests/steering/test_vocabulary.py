"""What is kept of a tone's vocabulary: as long as it is right, for as long as there is a model, and not too much.

Whatever is found is held against a copy of the model, of which nothing is kept.
"""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn

import emosteer
from emosteer.errors import ToneError
from emosteer.steering import vocabulary as room
from emosteer.steering.vocabulary import RowTable, vocabulary
from emosteer.vectors.types import EmotionInfo
from tests.conftest import in_threads, tiny_model

RATINGS = {"joy": (0.8, 0.4), "fear": (-0.6, 0.5), "calm": (0.6, -0.6), "sadness": (-0.7, -0.3)}


@pytest.fixture
def model():
    return tiny_model()


@pytest.fixture
def vectors(model):
    made = emosteer.EmotionVectors.random(model, list(RATINGS), seed=1)
    return replace(made, info={name: EmotionInfo({}, *point) for name, point in RATINGS.items()})


def passes(model, work) -> int:
    """How many forward passes a model makes."""
    seen: list[None] = []
    handle = model.register_forward_pre_hook(lambda *_: seen.append(None))
    try:
        work()
    finally:
        handle.remove()
    return len(seen)


def test_each_emotion_is_passed_through_the_model_once(model, vectors):
    joy, both = [{"joy": 1.0}], [{"joy": -2.0, "fear": 0.5}]
    assert passes(model, lambda: vocabulary(model, vectors, joy)) == 1
    assert passes(model, lambda: vocabulary(model, vectors, [{"joy": 0.3}, {"joy": -7.0}])) == 0
    assert passes(model, lambda: vocabulary(model, vectors, both)) == 1
    affect = [emosteer.Affect(-0.5, 0.5), None]
    assert passes(model, lambda: vocabulary(model, vectors, affect)) == 1
    assert passes(model, lambda: vocabulary(model, vectors, [*affect, *joy, *both])) == 0
    assert passes(model, lambda: vocabulary(model, vectors.select(["calm"]).scale(2.0), [{"calm": 1.0}])) == 0


def test_the_first_call_and_the_hundredth_agree_to_the_bit_whatever_was_asked_in_between(model, vectors):
    joy = vocabulary(model, vectors, [{"joy": 1.0}])
    other = copy.deepcopy(model)
    for tone in (emosteer.Affect(0.5, 0.5), {"fear": 1.0}, {"joy": 1.0}):
        found = vocabulary(other, vectors, [tone])
        assert torch.equal(found, vocabulary(copy.deepcopy(model), vectors, [tone]))
    assert torch.equal(found, joy)


def write_norm(model):
    model.model.norm.weight.data[::2] *= 3  # leaves no trace in the version


def write_head(model):
    with torch.no_grad():
        model.lm_head.weight.add_(torch.randn(400, 32, generator=torch.Generator().manual_seed(0)))


def replace_head(model):
    model.set_output_embeddings(nn.Linear(32, 400, bias=False))


def cast(model):
    model.to(torch.bfloat16)


def hook_head(model):
    model.lm_head.register_forward_hook(lambda _module, _args, output: output.flip(-1))


def load(model):
    model.load_state_dict(tiny_model(seed=5).state_dict())


@pytest.mark.parametrize(
    "change", [write_norm, write_head, replace_head, cast, hook_head, load], ids=lambda change: change.__name__
)
def test_a_model_that_changed_is_asked_again(model, vectors, change):
    before = vocabulary(model, vectors, [{"joy": 1.0}])
    change(model)
    after = vocabulary(model, vectors, [{"joy": 1.0}])
    assert torch.equal(after, vocabulary(copy.deepcopy(model), vectors, [{"joy": 1.0}]))
    assert not torch.allclose(after, before, atol=1e-3)
    assert passes(model, lambda: vocabulary(model, vectors, [{"joy": 1.0}])) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of peft and what it imports
def test_an_adapter_of_the_head_that_is_switched_changes_what_is_found(vectors):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["lm_head"], init_lora_weights=False)
    model = peft.get_peft_model(tiny_model(), config, adapter_name="one")
    model.add_adapter("two", config)

    def found():
        return vocabulary(model, vectors, [{"joy": 1.0}])

    one = found()
    model.set_adapter("two")
    two = found()
    model.merge_adapter()
    merged = found()
    model.unmerge_adapter()
    with model.disable_adapter():
        none = found()
    torch.testing.assert_close(none, vocabulary(tiny_model(), vectors, [{"joy": 1.0}]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged, two, atol=1e-3, rtol=1e-3)
    assert not any(torch.allclose(a, b, atol=1e-2) for a, b in ((one, two), (one, none), (two, none)))
    model.set_adapter("one")
    torch.testing.assert_close(found(), one, atol=1e-5, rtol=1e-5)


def test_blocks_and_what_steers_them_make_no_difference_and_cost_nothing(model, vectors):
    found = vocabulary(model, vectors, [{"joy": 1.0}])
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(2)
    with emosteer.steer(model, replace(vectors, base_model=replace(vectors.base_model, fingerprint=None)), {"fear": 1}):
        assert passes(model, lambda: vocabulary(model, vectors, [{"joy": 1.0}])) == 0
    assert torch.equal(vocabulary(model, vectors, [{"joy": 1.0}]), found)


def test_vectors_that_changed_in_place_are_asked_anew(model, vectors):
    before = vocabulary(model, vectors, [{"joy": 1.0}])
    vectors.directions["joy"].data.neg_()
    torch.testing.assert_close(vocabulary(model, vectors, [{"joy": 1.0}]), -before)
    vectors.directions["joy"] = vectors.directions["fear"]
    assert torch.equal(
        vocabulary(model, vectors, [{"joy": 1.0}]), vocabulary(copy.deepcopy(model), vectors, [{"fear": 1.0}])
    )


def test_what_is_kept_has_an_end(model, vectors, monkeypatch):
    monkeypatch.setattr(room, "KEPT", 3)
    vocabulary(model, vectors, [dict.fromkeys(RATINGS, 1.0)])
    assert len(room._kept[model].logits) == 3
    assert passes(model, lambda: vocabulary(model, vectors, [{"joy": 1.0}])) == 0
    assert passes(model, lambda: vocabulary(model, vectors, [{"calm": 1.0}])) == 1  # the first by name went first
    assert passes(model, lambda: vocabulary(model, vectors, [{"joy": 1.0}])) == 0  # used not long ago, so it stayed


def test_models_and_vectors_are_let_go():
    model = tiny_model()
    vectors = emosteer.EmotionVectors.random(model, ["joy"], seed=1)
    vocabulary(model, vectors, [{"joy": 1.0}])
    logits = weakref.ref(next(iter(room._kept[model].logits.values())))
    model, vectors = weakref.ref(model), weakref.ref(vectors)
    gc.collect()
    assert (model(), vectors(), logits()) == (None, None, None)


def test_threads_that_ask_at_once_find_the_same(model, vectors):
    expected = vocabulary(copy.deepcopy(model), vectors, [{"joy": 1.0, "fear": 0.5}])
    barrier, found = threading.Barrier(4, timeout=60), []

    def ask():
        barrier.wait()
        found.extend(vocabulary(model, vectors, [{"joy": 1.0, "fear": 0.5}]) for _ in range(20))

    in_threads(*[ask] * 4)
    assert all(torch.equal(one, expected) for one in found)


def test_a_table_is_spread_over_a_batch_once():
    table = RowTable(torch.arange(6.0).view(2, 3))
    rows = table.like(torch.zeros(4, 9))
    assert rows.tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    assert table.like(torch.zeros(4, 9)) is rows
    assert table.like(torch.zeros(2, 9, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert table.like(torch.zeros(4, 9, device="meta")).device.type == "meta"
    with pytest.raises(ToneError, match="2 tones for a batch of 3 rows"):
        table.like(torch.zeros(3, 9))
