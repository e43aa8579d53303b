"""Baking: the plain model that comes out is held against hooks written by hand, on the plain model that went in.

The oracle adds the deltas, worked out from the public fields of the vectors, after blocks whose path is written down in
the test, at every token. It knows nothing of biases.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.quantization_config import BitsAndBytesConfig

import emosteer
from emosteer.errors import IncompatibleModelError, ToneError
from emosteer.vectors.types import Dose
from tests.conftest import tiny_config, tiny_model
from tests.oracle import (
    ARCHITECTURES,
    COMMON,
    LLAMA,
    STATEFUL,
    added,
    blocks_of,
    built,
    deltas,
    expected_logits,
    logits_of,
    made_for,
    some_ids,
)

TONE = {"joy": 1.5, "fear": 1.0}  # on all of the four layers
VECTORS = Path("vectors") / "smollm2-135m-instruct-en"

# Also baked when their tiny models were tried, each read again to the bit by transformers alone: arcee, aria_text,
# bamba, biogpt, codegen, cohere2, ctrl, cwm, doge, ernie4_5, falcon_mamba, gpt_bigcode, gpt_neo, granite_swa, helium,
# hy_v3, internlm3, iquestcoder, jais2, jetmoe, openai-gpt, persimmon, recurrent_gemma, seed_oss, smollm3, xglm, xlstm.
MORE = {
    "granite": ("model.layers", {**LLAMA, "residual_multiplier": 0.25}),  # scales what its blocks add
    "nemotron": ("model.layers", LLAMA),
    "cohere": ("model.layers", LLAMA),  # attention and MLP beside each other, a bias only in the attention
    "starcoder2": ("model.layers", LLAMA),
    "phi": ("model.layers", LLAMA),
}
ALREADY = ("gpt2", "gpt_neox", "gptj", "opt", "bloom", "phi", "starcoder2")  # their blocks end in a bias
SWITCHED = ("llama", "falcon", "mamba", "granite", "nemotron", "cohere")  # their configs offer one
# Nowhere to put one; norms after the MLP.
REFUSED = ("mistral", "mixtral", "mpt", "qwen2", "qwen3", "phi3", "rwkv", "gemma3_text", "olmo2", "qwen2_moe")


@pytest.fixture(autouse=True)
def _known_architectures(monkeypatch):
    """Lets the helpers of test_hooks build the architectures that only this file knows."""
    for arch, entry in MORE.items():
        monkeypatch.setitem(ARCHITECTURES, arch, entry)


def tensors(model) -> dict[str, torch.Tensor]:
    return {**model.state_dict(), **dict(model.named_buffers())}


def baked_bias(model, layer: int) -> torch.Tensor:
    return model.model.layers[layer].mlp.down_proj.bias


@pytest.mark.parametrize("arch", [*ALREADY, *SWITCHED])
def test_a_baked_model_says_what_hooks_at_every_token_make_the_model_say(arch):
    model, ids = built(arch), some_ids(12)
    baked = emosteer.bake(model, made_for(arch), TONE)
    assert type(baked) is type(model)
    plain, steered, said = logits_of(model, ids), expected_logits(arch, ids, TONE, since=0), logits_of(baked, ids)
    assert (steered - plain).norm() > 1e-2 * plain.norm()
    assert (said - steered).norm() < 1e-5 * (steered - plain).norm()
    assert (baked.state_dict().keys() > model.state_dict().keys()) == (arch in SWITCHED)


@pytest.mark.parametrize("arch", [*ALREADY, *SWITCHED])
def test_transformers_alone_reads_a_saved_one_to_the_bit(arch, tmp_path):
    ids = some_ids(12)
    baked = emosteer.bake(built(arch), made_for(arch), TONE)
    baked.save_pretrained(tmp_path)
    again, found = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found.values())
    assert torch.equal(logits_of(again, ids), logits_of(baked, ids))


def test_blocks_of_several_kinds_get_their_biases_by_a_setting_each(monkeypatch):
    hybrid = {**LLAMA, "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 4, "n_groups": 2, "head_dim": 8}
    del hybrid["num_hidden_layers"]
    kinds = {"layers_block_type": ["mamba", "mlp", "attention", "mlp"]}
    monkeypatch.setitem(ARCHITECTURES, "nemotron_h", ("model.layers", {**hybrid, **kinds}))
    model, ids = built("nemotron_h"), some_ids(12)
    vectors = emosteer.EmotionVectors.random(model, ["joy"])
    with pytest.raises(IncompatibleModelError, match="not every block has a bias"):
        emosteer.bake(model, vectors, {"joy": 2.0}, layers=[0, 2])  # after the attention
    vectors = replace(vectors, doses={"joy": Dose(0.5, (0, 3), (1.0, 0.5))})
    baked = emosteer.bake(model, vectors, {"joy": 2.0})
    assert baked.config.mamba_proj_bias
    assert baked.config.mlp_bias
    with added(blocks_of("nemotron_h", model), deltas(vectors, {"joy": 2.0}), since=0):
        steered = logits_of(model, ids, use_cache=False)
    error = (logits_of(baked, ids, use_cache=False) - steered).norm()
    assert error < 1e-5 * (steered - logits_of(model, ids, use_cache=False)).norm()


@pytest.mark.parametrize("arch", REFUSED)
def test_where_no_bias_does_what_steering_does_it_refuses(arch):
    sizes = (ARCHITECTURES | STATEFUL).get(arch, (None, LLAMA))[1]
    model = tiny_model(AutoConfig.for_model(arch, **COMMON, **sizes))
    vectors = emosteer.EmotionVectors.random(model, ["joy"])
    before = copy.deepcopy(tensors(model))
    with pytest.raises(IncompatibleModelError, match=r"not every block has a bias .* emosteer\.steer"):
        emosteer.bake(model, vectors, {"joy": 1.0}, layers=[1, 2])
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(model).items())


@pytest.mark.full
def test_a_process_without_emosteer_reads_it_to_the_bit(model, vectors, tmp_path):
    ids = some_ids(12)
    baked = emosteer.bake(model, vectors, {"joy": 0.8})
    baked.save_pretrained(tmp_path)
    script = (
        "import sys, torch; from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "with torch.no_grad(): logits = model(input_ids=torch.tensor(eval(sys.argv[2]))).logits\n"
        "torch.save(logits, sys.argv[1] + '/logits.pt'); assert 'emosteer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path, str(ids.tolist())], check=True, capture_output=True)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), logits_of(baked, ids))


def test_the_model_stays_as_it_was_to_the_bit_and_is_not_run(vectors):
    model = tiny_model().train()
    before, config = copy.deepcopy(tensors(model)), model.config.to_dict()
    where = {name: tensor.data_ptr() for name, tensor in tensors(model).items()}
    model.register_forward_hook(lambda *_: pytest.fail("The model was run."))
    random = torch.get_rng_state()
    baked = emosteer.bake(model, vectors, TONE)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.config.to_dict() == config
    assert model.training
    assert tensors(model).keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(model).items())
    assert {name: tensor.data_ptr() for name, tensor in tensors(model).items()} == where
    assert all(parameter.grad is None for one in (model, baked) for parameter in one.parameters())


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
def test_weights_are_shared_in_memory_and_only_biases_are_new(arch):
    model = built(arch)
    baked = emosteer.bake(model, made_for(arch), {"joy": 1.0})  # layers 1 and 2
    theirs = {name: tensor.data_ptr() for name, tensor in tensors(model).items()}
    new = {name for name, tensor in tensors(baked).items() if tensor.data_ptr() != theirs.get(name)}
    if arch == "gpt2":
        assert new == {f"transformer.h.{layer}.mlp.c_proj.bias" for layer in (1, 2)}
    else:
        assert new == {f"model.layers.{n}.mlp.{one}_proj.bias" for n in range(4) for one in ("gate", "up", "down")}
        assert {name for name in new if baked.state_dict()[name].any()} == {
            f"model.layers.{layer}.mlp.down_proj.bias" for layer in (1, 2)
        }


def test_moving_a_baked_model_does_not_move_the_model(vectors):
    model = tiny_model()
    emosteer.bake(model, vectors, {"joy": 1.0}).to(torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_stay_tied_or_apart(tied, vectors, tmp_path):
    baked = emosteer.bake(tiny_model(tiny_config(tie_word_embeddings=tied)), vectors, {"joy": 1.0})
    assert (baked.lm_head.weight is baked.model.embed_tokens.weight) == tied
    baked.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits_of(again, some_ids(9)), logits_of(baked, some_ids(9)))


@pytest.mark.parametrize("arch", ["llama", "gpt2", "falcon"])
def test_half_precision_stays_half(arch):
    model, ids = built(arch, torch.bfloat16), some_ids(12)
    baked = emosteer.bake(model, made_for(arch), TONE)
    assert {parameter.dtype for parameter in baked.parameters()} == {torch.bfloat16}
    plain = logits_of(model, ids)
    with added(blocks_of(arch, model), deltas(made_for(arch), TONE), since=0):
        steered = logits_of(model, ids, use_cache=False)
    assert (logits_of(baked, ids) - steered).norm() < 0.2 * (steered - plain).norm()


def test_it_carries_over_what_else_makes_the_model(vectors):
    model = tiny_model()
    model.generation_config.max_new_tokens = 7
    model.set_attn_implementation("eager")
    baked = emosteer.bake(model.train(), vectors, {"joy": 1.0})
    assert baked.training
    assert not emosteer.bake(model.eval(), vectors, {"joy": 1.0}).training
    assert baked.generation_config.max_new_tokens == 7
    assert baked.generation_config is not model.generation_config
    assert baked.config._attn_implementation == "eager"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in baked.modules())


def test_what_the_model_is_being_steered_to_does_not_go_in(vectors):
    model, ids = tiny_model(), some_ids(12)
    expected = logits_of(emosteer.bake(model, vectors, {"joy": 1.0}), ids)
    with emosteer.steer(model, vectors, {"fear": 2.0}):
        baked = emosteer.bake(model, vectors, {"joy": 1.0})
        assert torch.equal(logits_of(baked, ids), expected)


def test_no_tone_is_the_plain_model_on_any_architecture():
    for arch in ("llama", "mixtral"):
        for tone in (None, {}, {"joy": 0.0}):
            baked = emosteer.bake(built(arch), made_for(arch), tone)
            assert baked.state_dict().keys() == built(arch).state_dict().keys()
            assert torch.equal(logits_of(baked, some_ids(9)), logits_of(built(arch), some_ids(9)))


def test_the_config_says_what_was_baked_and_baking_again_adds_up(model, vectors, tmp_path):
    once = emosteer.bake(model, vectors, {"joy": 1})
    with pytest.warns(emosteer.EmosteerWarning, match="other weights"):
        twice = emosteer.bake(once, vectors, {"fear": -0.5}, layers=[1, 2])
    twice.save_pretrained(tmp_path)
    first, second = json.loads((tmp_path / "config.json").read_text())["emosteer_baked"]
    assert (first["tone"], second["tone"]) == ({"joy": 1.0}, {"fear": -0.5})
    assert (first["layers"], second["layers"]) == ([1], [1, 2])
    assert first["emosteer_version"]
    assert not hasattr(model.config, "emosteer_baked")
    both = emosteer.bake(
        model, replace(vectors, doses={"fear": Dose(0.25, (1, 2), (0.5, 0.5))}), {"joy": 1, "fear": -0.5}
    )
    torch.testing.assert_close(logits_of(twice, some_ids(9)), logits_of(both, some_ids(9)), atol=1e-5, rtol=0)


def test_a_bias_that_is_there_is_added_to():
    model = tiny_model(tiny_config(mlp_bias=True))
    nn.init.normal_(baked_bias(model, 1))
    vectors = emosteer.EmotionVectors.random(model, ["joy"])
    bias = baked_bias(model, 1).detach().clone()
    baked = emosteer.bake(model, vectors, {"joy": 1.0})
    torch.testing.assert_close(baked_bias(baked, 1), bias + deltas(vectors, {"joy": 1.0})[1].float())
    assert torch.equal(baked_bias(model, 1), bias)


def test_it_can_be_generated_with_and_steered(model, tokenizer, vectors):
    baked = emosteer.bake(model, vectors, {"joy": 1.0})
    steered = emosteer.SteeredModel(baked, tokenizer, emosteer.EmotionVectors.random(baked, ["fear"]))
    assert isinstance(steered.chat("Hello", emotion={"fear": 1.0}, recipe=None, max_new_tokens=4), str)


@pytest.mark.parametrize("grad", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(grad, model, vectors):
    with grad():
        baked = emosteer.bake(model, vectors, {"joy": 1.0})
    assert torch.equal(
        logits_of(baked, some_ids(9)), logits_of(emosteer.bake(model, vectors, {"joy": 1.0}), some_ids(9))
    )


def test_a_tone_for_each_row_is_refused(model, vectors):
    with pytest.raises(ToneError, match="each row cannot be baked"):
        emosteer.bake(model, vectors, [{"joy": 1.0}, None])
    with pytest.raises(ToneError, match="bliss"):
        emosteer.bake(model, vectors, {"bliss": 1.0})


def test_vectors_of_another_model_are_refused(vectors):
    with pytest.raises(IncompatibleModelError, match="vectors are for"):
        emosteer.bake(tiny_model(tiny_config(num_hidden_layers=3)), vectors, {"joy": 1.0})


def test_quantised_weights_are_refused(vectors):
    model = tiny_model()
    model.config.quantization_config = BitsAndBytesConfig(load_in_8bit=True)
    with pytest.raises(IncompatibleModelError, match=r"quantised\. Bake the model in full precision"):
        emosteer.bake(model, vectors, {"joy": 1.0})


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of peft
@pytest.mark.filterwarnings("ignore:These vectors were made from")
@pytest.mark.parametrize("way", ["lora", "prompt tuning", "torch.compile", "load_adapter"])
def test_a_wrapped_model_is_refused_and_the_merged_one_is_baked(way, vectors):
    peft = pytest.importorskip("peft")
    model = tiny_model()
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    if way == "torch.compile":
        wrapped = torch.compile(model, backend="eager")
    elif way == "load_adapter":
        wrapped = model
        model.add_adapter(lora)
    else:
        config = lora if way == "lora" else peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
        wrapped = peft.get_peft_model(model, config)
    with pytest.raises(
        IncompatibleModelError, match="emosteer.steer" if way == "prompt tuning" else r"[Mm]erge.*merge_and_unload"
    ) as error:
        emosteer.bake(wrapped, vectors, {"joy": 1.0})
    assert "\n" not in str(error.value)
    if way == "lora":
        assert emosteer.bake(wrapped.merge_and_unload(), vectors, {"joy": 1.0})


def test_offloaded_weights_are_refused(vectors):
    model = tiny_model()
    model.model.layers[2].to("meta")
    with pytest.raises(IncompatibleModelError, match=r"several devices \(cpu, meta\)"):
        emosteer.bake(model, vectors, {"joy": 1.0})


def test_a_model_that_is_not_what_its_config_says_is_refused():
    model = tiny_model()
    model.model.layers[0].mlp.adapter = nn.Linear(32, 32)
    vectors = emosteer.EmotionVectors.random(model, ["joy"])
    with pytest.raises(IncompatibleModelError, match="other parameters than its config says"):
        emosteer.bake(model, vectors, {"joy": 1.0})


def test_a_bias_that_does_more_than_its_derivative_says_is_refused(monkeypatch):
    """Where the rule for finding biases is wrong, running the result shows it."""
    from emosteer.export import baked

    def wrong(twin, layers):
        return {layer: (twin.model.layers[layer].self_attn.o_proj.bias, 1.0) for layer in layers}

    model = tiny_model(tiny_config(attention_bias=True))
    vectors = emosteer.EmotionVectors.random(model, ["joy"])
    monkeypatch.setattr(baked, "_biases", wrong)
    with pytest.raises(IncompatibleModelError, match=r"off by .* of the logits"):
        emosteer.bake(model, vectors, {"joy": 1.0})


@pytest.mark.slow
@pytest.mark.embedded
def test_the_embedded_model_says_baked_what_it_says_steered(embedded):
    """The first token, which only the bias reaches, changes next to nothing after it."""
    model, tokenizer = embedded
    vectors, tone = emosteer.EmotionVectors.from_pretrained(VECTORS), {"joy": 0.8}
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    baked = emosteer.SteeredModel(emosteer.bake(model, vectors, tone), tokenizer, vectors)
    ids = steered.prompt("How was your morning?")["input_ids"]
    with steered.steer(tone):
        aim = logits_of(model, ids)[0, 1:].log_softmax(-1)
    distance = {
        name: float((aim.exp() * (aim - logits_of(one, ids)[0, 1:].log_softmax(-1))).sum(-1).mean())
        for name, one in {"baked": baked.model, "plain": model}.items()
    }
    assert distance["baked"] < 0.001
    assert distance["plain"] > 0.1
    options = {"max_new_tokens": 20, "do_sample": False}
    said = steered.chat("How was your morning?", emotion=tone, recipe=None, **options)
    assert baked.chat("How was your morning?", **options) == said
    assert steered.chat("How was your morning?", **options) != said
