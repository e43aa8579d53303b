"""How many tokens a model reads: as many as its positions reach, with scaled rotary embeddings further."""

from __future__ import annotations

import sys

import pytest
from transformers import AutoConfig

import emosteer
from emosteer.errors import InputError
from emosteer.models.activations import collect
from emosteer.models.generation import context_length
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LONG = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}

# Positions of the config, its rotary parameters → tokens that it reads.
ROTARY = {
    "not scaled": (64, None, 64),
    "linear": (64, {"rope_type": "linear", "factor": 4.0}, 256),
    "dynamic": (64, {"rope_type": "dynamic", "factor": 2.5}, 160),
    "yarn, as Qwen names it": (64, YARN, 256),
    "yarn, as gpt-oss names it": (256, YARN, 256),
    "yarn without the original number": (64, {"rope_type": "yarn", "factor": 4.0}, 256),
    "llama3": (512, LLAMA3, 512),
    "longrope, as Phi 3 names it": (256, {**LONG, "original_max_position_embeddings": 64}, 256),
    "longrope with a factor": (64, {**LONG, "factor": 4.0, "original_max_position_embeddings": 64}, 256),
}


def scaled(positions: int, rotary):
    rotary = {"rope_parameters": {"rope_theta": 1e4, **rotary}} if rotary else {}
    return tiny_config(max_position_embeddings=positions, **rotary)


@pytest.mark.filterwarnings("ignore")  # of transformers, about some of these parameters
@pytest.mark.parametrize("name", ROTARY)
def test_a_context_is_as_long_as_its_rotary_embeddings_reach(name):
    positions, rotary, length = ROTARY[name]
    assert context_length(tiny_model(scaled(positions, rotary))) == length


def test_the_older_name_of_the_parameters_counts_alike():
    config = tiny_config(max_position_embeddings=64, rope_scaling={"rope_type": "dynamic", "factor": 2.0})
    assert context_length(tiny_model(config)) == 128


def test_each_kind_of_layer_may_have_its_own():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    rotary = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = AutoConfig.for_model(
        "gemma3_text", **sizes, head_dim=8, vocab_size=400, max_position_embeddings=64, rope_parameters=rotary
    )
    assert context_length(tiny_model(config)) == 512


def test_models_without_positions_know_no_limit():
    config = AutoConfig.for_model("mamba", vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=4)
    assert context_length(tiny_model(config)) == sys.maxsize


def test_every_door_lets_the_scaled_length_through():
    model, tokenizer = tiny_model(scaled(64, {"rope_type": "dynamic", "factor": 4.0})), tiny_tokenizer()
    steered = emosteer.SteeredModel(model, tokenizer, emosteer.EmotionVectors.random(model, ["joy"]))
    text = "x" * 200
    assert isinstance(steered.chat(text, emotion={"joy": 1.0}, recipe=None, max_new_tokens=3), str)
    assert len(steered.explain(text, "Yes", emotion={"joy": 1.0}, recipe=None).plain) == 3
    assert collect(model, tokenizer, [text], progress=False).states.isfinite().all()
    for asked in (lambda: steered.chat("x" * 257), lambda: collect(model, tokenizer, ["x" * 257], progress=False)):
        with pytest.raises(InputError, match=r"(ends at|at most) 256"):
            asked()
