"""Every way of loading a model and every way of generating with it, steered as by hooks written by hand.

The oracle adds the deltas of the plan to every token but the first real one of a row. It runs on a twin of the model,
without padding and mostly without a cache.
"""

from __future__ import annotations

import copy
import random
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BitsAndBytesConfig,
    CompileConfig,
    GenerationConfig,
    StoppingCriteria,
    TorchAoConfig,
    cache_utils,
    pipeline,
)

import emosteer
from emosteer import schedules
from emosteer.errors import ToneError
from emosteer.steering.hooks import Steering
from emosteer.steering.plan import plan
from emosteer.vectors.types import Dose
from tests.conftest import few, tiny_config, tiny_model, tiny_tokenizer
from tests.oracle import added

JOY, FEAR, CALM = {"joy": 1.5}, {"fear": 1.0, "joy": -0.5}, {"calm": 3.0}
NEW = 10


def loud(model):
    """Weights large enough that what a random model says depends on what it reads."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


@cache
def llama():
    return loud(tiny_model(tiny_config(hidden_size=64, intermediate_size=128)))


@cache
def sliding():
    """Two blocks that see the last six tokens and two that see all."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}
    layers = ["sliding_attention", "full_attention"] * 2
    config = AutoConfig.for_model(
        "gemma3_text",
        **sizes,
        tie_word_embeddings=False,
        vocab_size=400,
        head_dim=16,
        num_key_value_heads=2,
        sliding_window=6,
        layer_types=layers,
    )
    return loud(tiny_model(config))


@cache
def vectors(model=None) -> emosteer.EmotionVectors:
    """Made for a model of the size of `llama`, which it is unless another is named."""
    found = emosteer.EmotionVectors.random(model or llama(), ["joy", "fear", "calm"], seed=1)
    doses = {"joy": Dose(0.5, (1, 2), (1.0, -0.5)), "fear": Dose(0.375, (0, 1, 2), (0.5, 1.0, 0.25))}
    return replace(found, doses=doses)


def deltas(tone, given=None) -> dict[int, torch.Tensor]:
    return plan(given or vectors(), tone).deltas


def but_the_first(tokens):
    """All but the first of several tokens, and a token that comes alone."""
    return torch.ones(tokens) if tokens == 1 else (torch.arange(tokens) > 0).float()


def by_hand(blocks, changes, *, gain=but_the_first):
    """The oracle's hooks; `gain` tells from the number of tokens of a pass how much each gets."""
    scaled = {layer: lambda tokens, by=change: gain(tokens)[:, None] * by for layer, change in changes.items()}
    return added(blocks, scaled, since=0)


def gains(begin: int, scope: str = "all", ramp: int = 0):
    """How much of the tone each token of a row gets whose answer begins at token `begin`."""

    def gain(tokens):
        positions = torch.arange(tokens)
        places = positions - begin
        scopes = {"all": positions >= 0, "prompt": places < 0, "generated": places >= 0}
        factor = (places / ramp).clamp(0, 1) if ramp else torch.ones(tokens)
        return factor * scopes[scope] * (positions > 0)

    return gain


def ids_of(length: int, *, rows: int = 1) -> torch.Tensor:
    return torch.randint(10, 400, (rows, length), generator=torch.Generator().manual_seed(length))


def padded(rows) -> dict[str, torch.Tensor]:
    width = max(row.shape[1] for row in rows)
    pad = [(width - row.shape[1], 0) for row in rows]
    return {
        "input_ids": torch.cat([nn.functional.pad(row, by) for row, by in zip(rows, pad, strict=True)]),
        "attention_mask": torch.cat(
            [nn.functional.pad(torch.ones_like(row), by) for row, by in zip(rows, pad, strict=True)]
        ),
    }


def logits_of(model, ids) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


class Said(NamedTuple):
    tokens: torch.Tensor  # [new]
    logits: torch.Tensor  # [new, vocabulary]


@cache
def answer(model, length: int, tone: tuple, scope: str, ramp: int) -> Said:
    ids, logits = ids_of(length), []
    with by_hand(model.model.layers, deltas(dict(tone), vectors(model)), gain=gains(length, scope, ramp)):
        for _ in range(NEW):
            logits.append(logits_of(model, ids)[0, -1])
            ids = torch.cat([ids, logits[-1].argmax()[None, None]], 1)
    return Said(ids[0, length:], torch.stack(logits))


def said(model, length: int, tone, *, scope: str = "all", ramp: int = 0) -> Said:
    """What the model says greedily to `ids_of(length)`, by a loop and hooks written by hand, without a cache."""
    found = answer(model, length, tuple((tone or {}).items()), scope, ramp)
    # Only a tone that changes what is said can show that it is in force.
    assert not tone or not torch.allclose(found.logits, answer(model, length, (), "all", 0).logits, atol=0.1)
    return found


def check(output, expected: list[Said]) -> None:
    """The rows that were generated are the expected ones, token for token and in their logits."""
    for row, one in enumerate(expected):
        assert output.sequences[row, -NEW:].tolist() == one.tokens.tolist()
        torch.testing.assert_close(torch.stack([step[row] for step in output.logits]), one.logits, atol=1e-3, rtol=1e-3)


LOGITS = {"return_dict_in_generate": True, "output_logits": True}
GREEDY = {"do_sample": False, "max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0}


def generate(model, ids, **options):
    """Greedily unless told otherwise, and never an early end."""
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)} if isinstance(ids, torch.Tensor) else ids
    return model.generate(**inputs, **{**GREEDY, **options})


# Loading.


def as_by_hand(model, blocks, given, tone, *, speaker=None) -> None:
    """One pass to the bit, and what is generated; the twin takes the very same way."""
    ids, speaker = ids_of(9), speaker or model
    plain = logits_of(speaker, ids)
    with by_hand(blocks, deltas(tone, given)):
        logits, spoken = logits_of(speaker, ids), generate(speaker, ids)
    with emosteer.steer(model, given, tone):
        assert torch.equal(logits_of(speaker, ids), logits)
        assert torch.equal(generate(speaker, ids), spoken)
    assert not torch.allclose(logits, plain, atol=1e-2)
    assert torch.equal(logits_of(speaker, ids), plain)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`llama` as files."""
    path = tmp_path_factory.mktemp("llama")
    llama().save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision(folder, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    assert model.dtype == dtype
    as_by_hand(model, model.model.layers, vectors(), FEAR)


@pytest.mark.parametrize("places", [("cpu", "disk"), ("disk", "disk")], ids=["half on disk", "all blocks on disk"])
def test_a_model_whose_weights_lie_on_disk(folder, tmp_path, places):
    where = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu"}
    where |= {f"model.layers.{layer}": places[layer // 2] for layer in range(4)}
    model = AutoModelForCausalLM.from_pretrained(folder, device_map=where, offload_folder=tmp_path)
    assert model.model.layers[3].mlp.up_proj.weight.device.type == "meta"
    as_by_hand(model, model.model.layers, vectors(), FEAR)
    with emosteer.steer(model, vectors(), FEAR):
        assert torch.equal(generate(model, ids_of(9))[0, 9:], said(llama(), 9, FEAR).tokens)


@pytest.mark.filterwarnings("ignore:You are calling .generate.*on a device type different")  # of older transformers
def test_a_model_whose_weights_come_to_the_device_when_they_are_needed():
    from accelerate import cpu_offload

    model = cpu_offload(copy.deepcopy(llama()), execution_device=torch.device("cpu"))
    assert model.device.type == "meta"
    with emosteer.steer(model, vectors(), FEAR):
        assert torch.equal(generate(model, ids_of(9))[0, 9:], said(llama(), 9, FEAR).tokens)


def quantised(kind: str):
    if kind.startswith("torchao"):
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig() if "weights" in kind else Int8DynamicActivationInt8WeightConfig())
    return BitsAndBytesConfig(load_in_8bit="8" in kind, load_in_4bit="4" in kind)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of those libraries, about themselves
@pytest.mark.parametrize(
    ("kind", "weight"),
    [
        ("torchao int8 weights", "Int8Tensor"),
        ("torchao int8 weights and activations", "Int8Tensor"),
        ("bitsandbytes 8 bit", "Int8Params"),
        ("bitsandbytes 4 bit", "Params4bit"),
    ],
)
def test_a_model_with_quantised_weights(folder, kind, weight):
    pytest.importorskip(kind.split()[0], reason="torchao is laid over the environment by `make test-torchao`")
    model = AutoModelForCausalLM.from_pretrained(folder, quantization_config=quantised(kind), device_map="cpu")
    assert type(model.model.layers[1].mlp.up_proj.weight).__name__ == weight
    as_by_hand(model, model.model.layers, vectors(), FEAR)


@pytest.fixture
def adapted():
    """`llama` with a LoRA adapter that changes what it says."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(2)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    return peft.get_peft_model(copy.deepcopy(llama()), config).eval()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of peft and what it imports
@pytest.mark.filterwarnings("ignore:These vectors were made from")  # an adapted model is another
@pytest.mark.parametrize("steered", few(["adapted model", "model inside"], "model inside"))
@pytest.mark.parametrize("speaking", ["adapted model", "model inside"])
def test_a_model_with_an_adapter(adapted, steered, speaking):
    models = {"adapted model": adapted, "model inside": adapted.base_model.model}
    blocks = adapted.base_model.model.model.layers
    assert not torch.equal(generate(adapted, ids_of(9))[0, 9:], said(llama(), 9, None).tokens)
    as_by_hand(models[steered], blocks, vectors(), FEAR, speaker=models[speaking])
    with emosteer.steer(models[steered], vectors(), FEAR, scope="generated"):
        found = generate(models[speaking], ids_of(9), prefill_chunk_size=4)
    with by_hand(blocks, deltas(FEAR), gain=gains(9, "generated")):
        assert torch.equal(found, generate(models[speaking], ids_of(9), use_cache=False))
    with emosteer.steer(models[steered], vectors(), FEAR), pytest.raises(ToneError, match="Continuous"):
        models[speaking].init_continuous_batching(GenerationConfig(**GREEDY))
    with emosteer.SteeredModel(models[steered], tiny_tokenizer(), vectors()) as object_:
        assert torch.equal(object_.generate(input_ids=ids_of(9), emotion=FEAR, scope="generated", **GREEDY), found)


@pytest.fixture
def counting():
    """A backend of torch.compile, and the list of times at which what it compiled was run."""
    runs: list[int] = []

    def backend(graph, _inputs):
        def run(*args):
            runs.append(1)
            return graph.forward(*args)

        return run

    torch._dynamo.reset()
    yield backend, runs
    torch._dynamo.reset()


@pytest.mark.parametrize("first", few(["before the block", "inside it"], "before the block"))
@pytest.mark.parametrize("way", ["torch.compile(model)", "model.compile()"])
def test_a_compiled_model(counting, way, first):
    backend, runs = counting
    model, ids = copy.deepcopy(llama()), ids_of(9)
    model.compile(backend=backend) if way == "model.compile()" else None
    compiled = model if way == "model.compile()" else torch.compile(model, backend=backend)
    plain = logits_of(llama(), ids)
    with by_hand(llama().model.layers, deltas(FEAR)):
        steered = logits_of(llama(), ids)
    if first == "before the block":
        assert torch.equal(logits_of(compiled, ids), plain)
        assert runs
    for _ in range(2):
        with emosteer.steer(compiled, vectors(), FEAR):
            assert torch.equal(logits_of(compiled, ids), steered)
            assert torch.equal(generate(compiled, ids)[0, 9:], said(llama(), 9, FEAR).tokens)
        runs.clear()
        assert torch.equal(logits_of(compiled, ids), plain)
        assert runs


def test_blocks_that_are_compiled_one_by_one(counting):
    backend, runs = counting
    model, ids = copy.deepcopy(llama()), ids_of(9)
    for block in model.model.layers:
        block.compile(backend=backend)
    as_by_hand(model, model.model.layers, vectors(), FEAR)
    assert runs
    with emosteer.steer(model, vectors(), FEAR):
        assert torch.equal(generate(model, ids)[0, 9:], said(llama(), 9, FEAR).tokens)


def doubled(_module, _args, output):
    return output * 2


def shifted(_module, args):
    return (args[0] + 0.1, *args[1:])


def shifted_too(_module, args, kwargs):
    return args, {**kwargs}


def pruned(block):
    from torch.nn.utils import prune

    prune.l1_unstructured(block.mlp.up_proj, "weight", amount=0.3)


OTHERS = {
    "a forward hook that changes the output": lambda block: block.register_forward_hook(doubled),
    "one that is first in line": lambda block: block.register_forward_hook(doubled, prepend=True),
    "a pre-hook that changes the input": lambda block: block.register_forward_pre_hook(shifted),
    "a pre-hook with keywords": lambda block: block.register_forward_pre_hook(shifted_too, with_kwargs=True),
    "pruning": pruned,
    "weight norm": lambda block: nn.utils.parametrizations.weight_norm(block.mlp.up_proj),
    "spectral norm": lambda block: nn.utils.parametrizations.spectral_norm(block.self_attn.q_proj),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_model_with_the_hooks_of_others(other):
    model = copy.deepcopy(llama())
    OTHERS[other](model.model.layers[1])
    OTHERS[other](model.model.layers[2])
    as_by_hand(model, model.model.layers, vectors(model), FEAR)


def test_hooks_of_others_on_every_module_hear_the_steered_stream():
    model, ids, heard = llama(), ids_of(9), []

    def listen(module, _args, output):
        if module is model.model.layers[1]:
            heard.append(output)

    handle = nn.modules.module.register_module_forward_hook(listen)
    try:
        logits_of(model, ids)
        with emosteer.steer(model, vectors(), {"joy": 1.5}):  # begins after layer 1
            logits_of(model, ids)
    finally:
        handle.remove()
    # Such hooks run before those of the module itself, whoever puts them in line.
    assert torch.equal(heard[0], heard[1])


def test_the_hidden_states_of_generate_are_the_steered_ones():
    options = {"return_dict_in_generate": True, "output_hidden_states": True}
    model = copy.deepcopy(llama())
    generate(model, ids_of(9), **options)  # installs the hooks that record
    with by_hand(model.model.layers, deltas(FEAR)):
        expected = generate(model, ids_of(9), **options).hidden_states
    with emosteer.steer(model, vectors(), FEAR):
        found = generate(model, ids_of(9), **options).hidden_states
    assert all(torch.equal(a, b) for x, y in zip(found, expected, strict=True) for a, b in zip(x, y, strict=True))


# Generating.


def compiling() -> CompileConfig:
    """What makes generate compile on a CPU, too."""
    config = CompileConfig(backend="eager", mode=None)
    config._compile_all_devices = True
    return config


WAYS = {
    "with a cache": {},
    "without": {"use_cache": False},
    "with a static cache": {"cache_implementation": "static"},
    "with a hybrid cache": {"cache_implementation": "hybrid"},
    "in chunks": {"prefill_chunk_size": 4},
    "in chunks, with a static cache": {"prefill_chunk_size": 4, "cache_implementation": "static"},
}
SCOPES = {"all": {}, "prompt": {"scope": "prompt"}, "generated": {"scope": "generated"}, "ramp": {"ramp": 6}}
LENGTHS, TONES = (9, 4, 6), [JOY, FEAR, CALM]


@pytest.mark.filterwarnings("ignore:.*cache_implementation.*:FutureWarning")
@pytest.mark.parametrize("scope", few(SCOPES, "all", "ramp"))
@pytest.mark.parametrize("way", few(WAYS, "with a cache", "in chunks, with a static cache"))
@pytest.mark.parametrize("built", [llama, sliding])
def test_every_row_says_what_it_says_alone(built, way, scope):
    model, asked = built(), SCOPES[scope]
    options = {"schedule": schedules.ramp(6)} if "ramp" in asked else asked
    with emosteer.steer(model, vectors(built()), TONES, **options):
        found = generate(model, padded([ids_of(length) for length in LENGTHS]), **WAYS[way], **LOGITS)
    check(found, [said(model, length, tone, **asked) for length, tone in zip(LENGTHS, TONES, strict=True)])


def test_code_that_generate_compiles_is_passed_by_while_steering(counting):
    backend, runs = counting
    model, ids = copy.deepcopy(llama()), padded([ids_of(length) for length in LENGTHS])
    options = {"cache_implementation": "static", "compile_config": compiling()}
    options["compile_config"].backend = backend
    for tones in (TONES, None, TONES[::-1]):  # steered first, then after it was compiled
        runs.clear()
        with emosteer.steer(model, vectors(), tones):
            found = generate(model, ids, **options, **LOGITS)
        assert bool(runs) == (tones is None)
        check(found, [said(llama(), length, tone) for length, tone in zip(LENGTHS, tones or [None] * 3, strict=True)])


def test_a_cache_that_is_quantised():
    if not hasattr(cache_utils, "Fp8QuantizedLayer"):
        pytest.skip("this transformers has no quantised cache that needs no other package")
    model, options = llama(), {"cache_implementation": "quantized", "cache_config": {"backend": "fp8"}}
    with by_hand(model.model.layers, deltas(FEAR)):
        expected = generate(model, ids_of(9), **options)
    with emosteer.steer(model, vectors(), FEAR):
        assert torch.equal(generate(model, ids_of(9), **options), expected)
    assert not torch.equal(generate(model, ids_of(9), **options), expected)


DRAWN = {
    "sampling": {"do_sample": True, "top_k": 20},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 3, "do_sample": True},
    "several beams returned": {"num_beams": 3, "num_return_sequences": 2},
    "several answers": {"do_sample": True, "num_return_sequences": 3},
    "a penalty on what was said": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
    "contrast with an unprompted answer": {"guidance_scale": 1.5},
}


@pytest.mark.parametrize("scope", few(["all", "generated"], "generated"))
@pytest.mark.parametrize("kind", DRAWN)
def test_every_kind_of_decoding(kind, scope):
    model, options = llama(), DRAWN[kind]
    torch.manual_seed(7)
    with by_hand(model.model.layers, deltas(FEAR), gain=gains(9, scope)):
        expected = generate(model, ids_of(9), use_cache=False, **options)
    torch.manual_seed(7)
    with emosteer.steer(model, vectors(), FEAR, scope=scope):
        assert torch.equal(generate(model, ids_of(9), **options), expected)
    torch.manual_seed(7)
    assert not torch.equal(generate(model, ids_of(9), **options), expected)


@pytest.mark.parametrize("returned", [1, 2])
def test_beams_of_rows_with_padding_have_the_tone_of_their_row(returned):
    model, options = llama(), {"num_beams": 3, "num_return_sequences": returned}
    with emosteer.steer(model, vectors(), TONES):
        found = generate(model, padded([ids_of(length) for length in LENGTHS]), **options)[:, 9:]
    for row, (length, tone) in enumerate(zip(LENGTHS, TONES, strict=True)):
        with by_hand(model.model.layers, deltas(tone), gain=gains(length)):
            expected = generate(model, ids_of(length), use_cache=False, **options)[:, length:]
        assert torch.equal(found[row * returned : (row + 1) * returned], expected)


@pytest.mark.parametrize(
    "options", [{"penalty_alpha": 0.6, "top_k": 4}, {"dola_layers": "high"}], ids=["contrastive", "DoLa"]
)
def test_kinds_of_decoding_that_are_code_on_the_hub_are_refused_by_transformers(options):
    with (
        left_as_it_was(llama()),
        emosteer.steer(llama(), vectors(), FEAR),
        pytest.raises(ValueError, match="trust_rem"),
    ):
        generate(llama(), ids_of(9), **options)


class Lines:
    """A streamer that keeps what it is given."""

    def __init__(self):
        self.tokens = []

    def put(self, value):
        self.tokens += value.flatten().tolist()

    def end(self):
        pass


def test_tokens_that_are_streamed():
    streamer = Lines()
    with emosteer.steer(llama(), vectors(), FEAR):
        generate(llama(), ids_of(9), streamer=streamer)
    assert streamer.tokens[9:] == said(llama(), 9, FEAR).tokens.tolist()


def test_a_pipeline():
    tokenizer, text = tiny_tokenizer(), "How are you?"
    writer = pipeline("text-generation", model=llama(), tokenizer=tokenizer, **GREEDY)
    ids = tokenizer(text, return_tensors="pt").input_ids
    with by_hand(llama().model.layers, deltas(FEAR), gain=gains(ids.shape[1])):
        expected = generate(llama(), ids, use_cache=False)[0]
    with emosteer.steer(llama(), vectors(), FEAR):
        found = writer([text, text + " And you?"], batch_size=2, return_tensors=True)[0][0]["generated_token_ids"]
    assert list(found)[-NEW:] == expected[-NEW:].tolist()
    assert not torch.equal(generate(llama(), ids)[0], expected)


def assisted(kind: str) -> dict:
    """Options with which something guesses what comes next."""
    vocabulary = 401 if "tokenizer" in kind else 400
    weaker = loud(tiny_model(tiny_config(num_hidden_layers=1, vocab_size=vocabulary), seed=5))
    tokenizers = {"tokenizer": tiny_tokenizer(), "assistant_tokenizer": tiny_tokenizer()}
    return {
        "another model": {"assistant_model": weaker},
        "its plain self": {"assistant_model": copy.deepcopy(llama())},
        "another model with a tokenizer of its own": {"assistant_model": weaker, **tokenizers},
        "its own first layers": {"assistant_early_exit": 2},
        "the prompt": {"prompt_lookup_num_tokens": 3},
    }[kind]


ASSISTANTS = [
    "another model",
    "its plain self",
    "another model with a tokenizer of its own",
    "its own first layers",
    "the prompt",
]


@pytest.mark.parametrize("scope", few(SCOPES, "all", "generated"))
@pytest.mark.parametrize("kind", few(ASSISTANTS, "another model", "the prompt"))
def test_an_assistant_changes_nothing_of_what_is_said(kind, scope):
    model, asked = copy.deepcopy(llama()), SCOPES[scope]
    expected = said(llama(), 9, FEAR, **asked)
    options = {"schedule": schedules.ramp(6)} if "ramp" in asked else asked
    with emosteer.steer(model, vectors(), FEAR, **options):
        check(generate(model, ids_of(9), **assisted(kind), **LOGITS), [expected])
    assert torch.equal(generate(model, ids_of(9))[0, 9:], said(llama(), 9, None).tokens)


def test_an_assistant_that_is_steered_itself_changes_nothing_of_what_the_model_says():
    helper = copy.deepcopy(llama())
    with emosteer.steer(helper, vectors(), JOY), emosteer.steer(llama(), vectors(), FEAR):
        found = generate(llama(), ids_of(9), assistant_model=helper)
    assert torch.equal(found[0, 9:], said(llama(), 9, FEAR).tokens)


BATCHING = {
    "generate_batch": lambda model, ids: model.generate_batch(ids.tolist(), GenerationConfig(**GREEDY)),
    "paged cache": lambda model, ids: generate(model, ids, cache_implementation="paged"),
    "manager": lambda model, _ids: model.init_continuous_batching(GenerationConfig(**GREEDY)),
}


@pytest.mark.parametrize("way", BATCHING)
def test_continuous_batching_is_refused(way):
    model, ids = llama(), ids_of(9)
    with left_as_it_was(model), emosteer.steer(model, vectors(), FEAR), pytest.raises(ToneError, match="Continuous"):
        BATCHING[way](model, ids)


@pytest.mark.parametrize("way", [{"assistant_early_exit": 2}, {"use_mtp": True}, {"num_beams": 2}])
def test_a_thermostat_does_not_go_back_and_forth(way):
    wanted = plan(vectors(), emosteer.Thermostat({"joy": 1.0}))
    with Steering(llama(), wanted, control=object()), pytest.raises(ToneError, match="back and forth"):
        generate(llama(), ids_of(9), **way)


# Encoders with decoders.


def seq2seq(kind: str):
    sizes = {
        "t5": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 5, "num_decoder_layers": 4, "num_heads": 4},
        "bart": {
            "d_model": 64,
            "encoder_layers": 2,
            "decoder_layers": 4,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
        },
    }[kind]
    special = {
        "tie_word_embeddings": False,
        "decoder_start_token_id": 3,
        "forced_eos_token_id": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    model = loud(
        AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(kind, vocab_size=400, **special, **sizes)).eval()
    )
    model.generation_config.forced_eos_token_id = None
    return model, model.decoder.block if kind == "t5" else model.model.decoder.layers


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    "prompt", [None, [3, 40, 50, 60], [40, 50, 60]], ids=["no prompt", "a prompt", "one without its start"]
)
@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_the_decoder_of_an_encoder_decoder_model(kind, prompt, scope):
    model, blocks = seq2seq(kind)
    given = replace(vectors(), base_model=replace(vectors().base_model, model_type=kind, fingerprint=None))
    begin = [3, *(one for one in prompt or [] if one != 3)]
    asked = {"all": {}, "ramp": {"schedule": schedules.ramp(6)}}.get(scope, {"scope": scope})
    options = {} if prompt is None else {"decoder_input_ids": torch.tensor([prompt])}

    def by_loop(tone) -> Said:
        row, logits = torch.tensor([begin]), []
        with by_hand(blocks, deltas(tone), gain=gains(len(begin), **SCOPES[scope])), torch.no_grad():
            for _ in range(NEW):
                logits.append(model(input_ids=ids_of(9), decoder_input_ids=row, use_cache=False).logits[0, -1])
                row = torch.cat([row, logits[-1].argmax()[None, None]], 1)
        return Said(row[0, -NEW:], torch.stack(logits))

    expected = by_loop(FEAR)
    with emosteer.steer(model, given, FEAR, **asked):
        for way in ({}, {"use_cache": False}):
            check(generate(model, ids_of(9), **options, **way, **LOGITS), [expected])
    with emosteer.steer(model, given, [CALM, FEAR], **asked):  # rows of which one is shorter for the encoder
        rows = {"decoder_input_ids": options["decoder_input_ids"].repeat(2, 1)} if options else {}
        found = generate(model, padded([ids_of(6), ids_of(9)]), **rows, **LOGITS)
    assert found.sequences[1, -NEW:].tolist() == expected.tokens.tolist()
    nothing_to_steer = scope == "prompt" and len(begin) == 1
    assert torch.allclose(expected.logits, by_loop(None).logits, atol=0.1) == nothing_to_steer


# Threads.


def state_of(model) -> list:
    """All that a steering could leave behind: hooks, attributes, weights, and how torch compiles."""
    kinds = [name for name in vars(nn.Module()) if "_hooks" in name]
    hooks = [(name, kind, list(getattr(m, kind).items())) for name, m in model.named_modules() for kind in kinds]
    attributes = [(name, sorted(vars(m))) for name, m in model.named_modules()]
    weights = {name: (tensor.data_ptr(), tensor._version) for name, tensor in model.state_dict().items()}
    return [hooks, attributes, weights, torch._dynamo.eval_frame._stance]


@contextmanager
def left_as_it_was(model):
    before, plain = state_of(model), logits_of(model, ids_of(9))
    yield
    assert state_of(model) == before
    assert torch.equal(logits_of(model, ids_of(9)), plain)


def in_threads(work, threads: int = 8) -> None:
    """Run `work(i)` in threads that begin together; the first error of any is raised here."""
    barrier, errors = threading.Barrier(threads, timeout=60), []

    def run(i):
        try:
            barrier.wait()
            work(i)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    if errors:
        raise errors[0]


def random_steering(draw: random.Random) -> dict:
    def tone():
        return {
            name: round(draw.uniform(-2, 2), 2) for name in draw.sample(["joy", "fear", "calm"], draw.randint(0, 3))
        }

    return {
        "tone": [tone() for _ in LENGTHS] if draw.random() < 0.5 else tone(),
        "schedule": draw.choice([None, None, schedules.ramp(4), schedules.decay(3)]),
        "scope": draw.choice([None, None, "all", "prompt", "generated"]),
        "operation": draw.choice(["add", "add", "add", "norm_preserving", "ablate", "project"]),
    }


def spoken(model, given, inputs, steering, new: int) -> list:
    tone = steering["tone"]
    options = {name: value for name, value in steering.items() if name != "tone"}
    if options["operation"] == "ablate":  # takes shares from 0 to 1
        positive = [
            {name: abs(x) / 2 for name, x in one.items()} for one in (tone if isinstance(tone, list) else [tone])
        ]
        tone = positive if isinstance(tone, list) else positive[0]
    with emosteer.steer(model, given, tone, **options):
        return generate(model, inputs, max_new_tokens=new).tolist()


def check_threads(model, given, inputs, *, kinds: int, new: int) -> None:
    draw = random.Random(3)
    steerings = [random_steering(draw) for _ in range(kinds)]
    alone = [spoken(model, given, inputs, steering, new) for steering in steerings]
    assert len({str(one) for one in alone}) > kinds // 2
    jobs = [[draw.randrange(kinds) for _ in range(25)] for _ in range(8)]

    def work(i):
        for job in jobs[i]:
            assert spoken(model, given, inputs, steerings[job], new) == alone[job], steerings[job]

    with left_as_it_was(model):
        in_threads(work)


@pytest.mark.slow
def test_eight_threads_that_generate_in_tones_of_their_own_each_say_what_they_say_alone():
    check_threads(llama(), vectors(), padded([ids_of(length) for length in LENGTHS]), kinds=16, new=4)


@pytest.mark.slow
@pytest.mark.embedded
def test_eight_threads_on_the_embedded_model(embedded):
    model, tokenizer = embedded
    inputs = dict(tokenizer(["How was your day?", "I", "Tell me of the sea."], return_tensors="pt", padding=True))
    given = emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1)
    check_threads(model, given, inputs, kinds=12, new=6)


def test_blocks_that_threads_leave_in_any_order_leave_nothing_behind():
    model = llama()

    def work(i):
        draw = random.Random(i)
        for _ in range(10):
            opened = [emosteer.steer(model, vectors(), tone) for tone in (JOY, FEAR, CALM)]
            for one in opened:
                one.__enter__()
            draw.shuffle(opened)
            for one in opened:
                logits_of(model, ids_of(4))
                one.__exit__(None, None, None)

    with left_as_it_was(model):
        in_threads(work)


# As it was.


class Interrupting(StoppingCriteria):
    def __init__(self, error):
        self.error = error

    def __call__(self, ids, scores, **options):
        if ids.shape[1] == 13:
            raise self.error
        return torch.zeros(ids.shape[0], dtype=torch.bool)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("scope", ["all", "generated"])
def test_a_model_whose_generation_is_interrupted_is_left_as_it_was(error, scope):
    model = llama()
    with left_as_it_was(model), pytest.raises(error), emosteer.steer(model, vectors(), TONES[:1], scope=scope):
        generate(model, ids_of(9), stopping_criteria=[Interrupting(error())])


def test_a_generate_of_the_models_own_is_used_and_left_in_place():
    model, calls = copy.deepcopy(llama()), []

    def own(*args, **options):
        calls.append(options)
        return type(model).generate(model, *args, **options)

    model.generate = own
    with left_as_it_was(model), emosteer.steer(model, vectors(), FEAR):
        assert torch.equal(generate(model, ids_of(9))[0, 9:], said(llama(), 9, FEAR).tokens)
    assert model.generate is own
    assert len(calls) == 1
