"""Where the decoder blocks are: on architectures of every naming, beside vision towers, and not in encoders."""

from __future__ import annotations

import threading
from functools import cache

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForTextEncoding,
    LlamaModel,
)

from emosteer import layers
from emosteer.errors import IncompatibleModelError
from emosteer.layers import decoder, decoder_layers, hidden_of, hidden_size, input_device, with_hidden
from emosteer.models.activations import collect
from tests.conftest import tiny_config, tiny_model

COMMON = {"vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DEEP = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
GROUPED = {**DEEP, "num_key_value_heads": 2, "max_position_embeddings": 64}
GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
SPARSE = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}  # as many experts as blocks, in a list of their own

# Architecture → (where its blocks are, what is tiny about it).
CAUSAL = {
    "llama": ("model.layers", GROUPED),
    "mistral": ("model.layers", GROUPED),
    "qwen2": ("model.layers", GROUPED),
    "qwen3": ("model.layers", {**GROUPED, "head_dim": 8}),
    "phi": ("model.layers", GROUPED),
    "olmo2": ("model.layers", GROUPED),
    "gemma3_text": ("model.layers", {**GROUPED, "head_dim": 8, "layer_types": ["full_attention"] * 3}),
    "mixtral": ("model.layers", {**GROUPED, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen3_moe": ("model.layers", {**GROUPED, **SPARSE, "num_experts": 3, "head_dim": 8}),
    "stablelm": ("model.layers", GROUPED),
    "gpt2": ("transformer.h", GPT),
    "gptj": ("transformer.h", {**GPT, "rotary_dim": 4}),
    "gpt_neo": (
        "transformer.h",
        {"hidden_size": 32, "num_layers": 3, "num_heads": 4, "attention_types": [[["global"], 3]]},
    ),
    "codegen": ("transformer.h", {**GPT, "rotary_dim": 4}),
    "bloom": ("transformer.h", {"hidden_size": 32, "n_layer": 3, "n_head": 4}),
    "falcon": ("transformer.h", DEEP),
    "mpt": ("transformer.blocks", {"d_model": 32, "n_layers": 3, "n_heads": 4, "max_seq_len": 64}),
    "gpt_neox": ("gpt_neox.layers", DEEP),
    "opt": (
        "model.decoder.layers",
        {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32},
    ),
    "xglm": ("model.layers", {"d_model": 32, "num_layers": 3, "attention_heads": 4, "ffn_dim": 64}),
    "mamba": ("backbone.layers", {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 4}),
}
# Encoders beside the decoder are as deep as it is, so that only the right place can tell them apart.
EYES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 16,
    "patch_size": 8,
}
MULTIMODAL = {
    "llava": {
        "vision_config": {"model_type": "clip_vision_model", **EYES},
        "text_config": {"model_type": "llama", **COMMON, **GROUPED},
        "image_token_index": 5,
    },
    "qwen2_vl": {
        "vision_config": {"depth": 3, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 8},
        "text_config": {
            **COMMON,
            **GROUPED,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
        },
    },
    "gemma3": {
        "vision_config": {"model_type": "siglip_vision_model", **EYES},
        "text_config": {**COMMON, **GROUPED, "head_dim": 8, "layer_types": ["full_attention"] * 3},
        "mm_tokens_per_image": 4,
    },
}
ENCODERS = {
    "bert": (AutoModel, {**DEEP}),
    "bert for masked words": (AutoModelForMaskedLM, {**DEEP}),
    "distilbert": (AutoModelForMaskedLM, {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4}),
    "modernbert": (AutoModelForMaskedLM, {**DEEP, "cls_token_id": 1, "sep_token_id": 2}),
    "t5 encoder": (AutoModelForTextEncoding, {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4}),
    "vit": (AutoModel, {**EYES}),
}


@cache
def causal(arch: str):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **COMMON, **CAUSAL[arch][1])).eval()


@cache
def multimodal(arch: str):
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(AutoConfig.for_model(arch, **MULTIMODAL[arch])).eval()


def order_of_running(model, *modules) -> list[nn.Module]:
    """In which order a forward pass on text runs some of the model's modules."""
    ran: list[nn.Module] = []
    handles = [module.register_forward_pre_hook(lambda m, _args: ran.append(m)) for module in modules]
    with torch.no_grad():
        model(input_ids=torch.tensor([[7, 8, 9]]))
    for handle in handles:
        handle.remove()
    return ran


@pytest.mark.parametrize("arch", CAUSAL)
def test_the_blocks_of_a_causal_model(arch):
    model = causal(arch)
    blocks = decoder_layers(model)
    assert blocks is model.get_submodule(CAUSAL[arch][0])
    assert len(blocks) == 3
    assert order_of_running(model, *blocks) == list(blocks)
    assert hidden_size(model) == 32


@pytest.mark.parametrize("arch", CAUSAL)
def test_a_block_s_output_is_the_recorded_hidden_state(arch):
    model = causal(arch)
    found = []
    handles = [
        block.register_forward_hook(lambda _m, _a, output: found.append(hidden_of(output)))
        for block in decoder_layers(model)
    ]
    with torch.no_grad():
        recorded = model(input_ids=torch.tensor([[7, 8, 9]]), output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    assert [state.shape for state in found] == [(1, 3, 32)] * 3
    first = 0 if arch == "mamba" else 1  # Mamba does not record the embeddings
    for i in range(2):  # the last recorded one is after the final norm
        assert torch.equal(found[i], recorded[i + first])


@pytest.mark.parametrize("arch", MULTIMODAL)
def test_the_blocks_of_a_model_that_also_sees_are_those_of_its_language_model(arch):
    model = multimodal(arch)
    blocks = decoder_layers(model)
    assert blocks is model.get_submodule("model.language_model.layers")
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == len(blocks)]
    assert len(lists) > 1  # those of the eye are as many
    assert order_of_running(model, *blocks) == list(blocks)
    assert hidden_size(model) == 32


@pytest.mark.parametrize("arch", MULTIMODAL)
def test_texts_are_read_by_a_model_that_also_sees(arch, tokenizer):
    model = multimodal(arch)
    found = collect(model, tokenizer, ["A door.", "Rain, all night."])
    ids = torch.tensor([tokenizer("Rain, all night.").input_ids])
    with torch.no_grad():
        recorded = model(input_ids=ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(found.states[1, :2], torch.stack(recorded[1:3])[:, 0, 1:].mean(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, (kind, _) in ENCODERS.items()])
def test_an_encoder_is_refused(name, kind):
    arch, sizes = name.split()[0], ENCODERS[name][1]
    model = kind.from_config(AutoConfig.for_model(arch, **(COMMON if arch != "vit" else {}), **sizes))
    with pytest.raises(IncompatibleModelError, match=f"{type(model).__name__}.*causal"):
        decoder_layers(model)


@pytest.mark.parametrize("thing", [nn.Linear(2, 2), "a path", None])
def test_what_is_no_language_model_is_refused_by_name(thing):
    with pytest.raises(IncompatibleModelError, match=rf"{type(thing).__name__} .*AutoModelForCausalLM"):
        decoder_layers(thing)


def test_a_model_whose_blocks_stand_in_no_list_of_that_length_is_refused():
    model = tiny_model()
    model.model.layers = model.model.layers[:3]  # the config says four
    with pytest.raises(IncompatibleModelError, match=r"No list of 4 decoder blocks was found in LlamaForCausalLM"):
        decoder_layers(model)


def test_blocks_of_parts_that_run_beside_each_other_are_not_taken_for_blocks(monkeypatch):
    # XLM keeps attentions, norms and feed-forward layers in lists of their own: which is the stream, the table says.
    monkeypatch.delitem(layers._paths, "xlm")
    sizes = {"n_words": 400, "emb_dim": 32, "n_layers": 3, "n_heads": 4}
    with pytest.raises(IncompatibleModelError, match="XLMWithLMHeadModel"):
        decoder_layers(AutoModelForCausalLM.from_config(AutoConfig.for_model("xlm", **sizes)))


def test_the_decoder_is_the_model_without_its_head():
    model = tiny_model()
    assert isinstance(decoder(model), LlamaModel)
    assert all(module is not model.lm_head for module in decoder(model).modules())


def test_width_is_that_of_the_text_part_of_a_model_that_also_sees():
    config = AutoConfig.for_model("llava", **MULTIMODAL["llava"])
    config.vision_config.hidden_size = 64
    model = AutoModelForImageTextToText.from_config(config)
    assert hidden_size(model) == 32


def test_the_input_goes_where_the_embeddings_are():
    assert input_device(tiny_model()) == torch.device("cpu")
    with torch.device("meta"):  # as accelerate leaves what it offloads: it moves the inputs itself
        assert input_device(AutoModelForCausalLM.from_config(tiny_config())) == torch.device("cpu")


@pytest.mark.parametrize("rest", [None, (), ("cache",), ("cache", "weights")])
def test_the_hidden_state_of_an_output_can_be_taken_and_replaced(rest):
    hidden, new = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    output = hidden if rest is None else (hidden, *rest)
    assert hidden_of(output) is hidden
    changed = with_hidden(output, new)
    assert hidden_of(changed) is new
    assert type(changed) is type(output)
    if rest is not None:
        assert changed[1:] == rest
    assert hidden_of(output) is hidden  # out of place


def test_blocks_are_checked_while_another_thread_runs_them(monkeypatch):
    """Its one token is not taken for the three of the check."""
    model, real = tiny_model(), layers.run_blocks

    def beside(model, ids):
        real(model, ids)
        other = threading.Thread(target=real, args=(model, ids[:, :1]))
        other.start()
        other.join()

    monkeypatch.setattr(layers, "run_blocks", beside)
    layers.check_blocks(model)
    assert not any(block._forward_hooks for block in decoder_layers(model))
