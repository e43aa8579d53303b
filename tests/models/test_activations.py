"""Activations: what `collect` pools, against every text read alone with `output_hidden_states` and a hook by hand."""

from __future__ import annotations

import gc
import weakref
from functools import cache

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM

from emosteer.errors import InputError, ToneError
from emosteer.models.activations import POOLINGS, Passage, collect
from tests.conftest import few, tiny_config, tiny_model, tiny_tokenizer

COMMON = {"vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DEEP = {"num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 32, "intermediate_size": 64}
GPT = {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 256}

# Architecture → (where its blocks are, what is tiny about it). The last five give tuples.
ARCHITECTURES = {
    "llama": ("model.layers", {**DEEP, "num_key_value_heads": 2, "max_position_embeddings": 256}),
    "gpt2": ("transformer.h", GPT),
    "gpt_neox": ("gpt_neox.layers", {**DEEP, "max_position_embeddings": 256}),
    "opt": ("model.decoder.layers", {**DEEP, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "bloom": ("transformer.h", {"hidden_size": 32, "n_layer": 4, "n_head": 4}),
    "falcon": ("transformer.h", DEEP),
    "gptj": ("transformer.h", {**GPT, "rotary_dim": 4}),
    "mpt": ("transformer.blocks", {"d_model": 32, "n_layers": 4, "n_heads": 4, "max_seq_len": 256}),
    "gpt_neo": (
        "transformer.h",
        {**DEEP, "num_layers": 4, "num_heads": 4, "attention_types": [[["global", "local"], 2]], "window_size": 8},
    ),
}
TEXTS = [
    "A door stood open.",
    "So?",
    "The long way home led past the mill, the pond and the field where we had lost the red kite.",
    "Hm, yes.",
    "Rain fell on the tin roof all night.",
    "No.",
    "Nine boats lay on the sand.",
]

every_architecture = pytest.mark.parametrize("arch", few(ARCHITECTURES, "llama", "gpt2", "falcon"))


@cache
def built(arch: str):
    """A tiny model with weights large enough that what it says depends on what it reads."""
    sizes = {key: value for key, value in ARCHITECTURES[arch][1].items() if arch != "gpt_neo" or key not in DEEP}
    if arch == "gpt_neo":
        sizes["hidden_size"] = 32
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(arch, **COMMON, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    return model


def with_specials():
    """The tiny tokenizer, adding a token before and one after every text."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert tokenizer("a").input_ids[0] == 1
    assert tokenizer("a").input_ids[-1] == 2
    return tokenizer


def read_alone(model, blocks: str, ids: list[int]) -> torch.Tensor:
    """`[n_layers, n_tokens, d_model]` of one text: recorded states, and the last block by a hook."""
    last = []
    *_, block = model.get_submodule(blocks)
    handle = block.register_forward_hook(lambda _m, _a, out: last.append(out if torch.is_tensor(out) else out[0]))
    with torch.no_grad():
        recorded = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    handle.remove()
    return torch.stack([*recorded[1:-1], *last])[:, 0].float()


def expected(model, blocks: str, texts: list[str], tokenizer, pooling: str):
    """States and norms: one byte of an ASCII text is one token, and the tests say which of them count."""
    states, norms = [], []
    for text in texts:
        ids = tokenizer(text).input_ids
        added = len(ids) - len(text)  # 0, or one before and one after
        hidden = read_alone(model, blocks, ids)[:, max(1, added // 2) : len(text) + added // 2]
        states.append(hidden.mean(1) if pooling == "mean" else hidden[:, -1])
        norms.append((hidden**2).sum(-1).sqrt().mean(-1))
    return torch.stack(states), torch.stack(norms)


def hooks_of(model) -> list[int]:
    return [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]


def watched(model) -> list[str]:
    """A list that will name the modules that run."""
    found: list[str] = []
    for name, module in model.named_modules():
        module.register_forward_pre_hook(lambda _m, _a, name=name: found.append(name))
    return found


# What is read.


@every_architecture
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_states_and_norms_are_those_of_every_text_read_alone(arch, pooling):
    model, tokenizer = built(arch), with_specials()
    found = collect(model, tokenizer, TEXTS, pooling=pooling, batch_size=3)
    states, norms = expected(model, ARCHITECTURES[arch][0], TEXTS, tokenizer, pooling)
    assert found.states.shape == (len(TEXTS), 4, 32)
    assert found.norms.shape == (len(TEXTS), 4)
    assert_close(found.states, states, rtol=1e-4, atol=1e-4 * float(states.abs().max()))
    assert_close(found.norms, norms, rtol=1e-4, atol=0)


def test_without_special_tokens_the_first_token_of_the_text_does_not_count(tokenizer):
    model = built("llama")
    found = collect(model, tokenizer, TEXTS)
    states, norms = expected(model, "model.layers", TEXTS, tokenizer, "mean")
    assert_close(found.states, states, rtol=1e-4, atol=1e-5)
    assert_close(found.norms, norms, rtol=1e-4, atol=0)


@every_architecture
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_the_result_does_not_depend_on_the_batch_size(arch, pooling, tokenizer):
    model = built(arch)
    alone = collect(model, tokenizer, TEXTS, pooling=pooling, batch_size=1)
    for batch_size in (2, 3, 100):
        together = collect(model, tokenizer, TEXTS, pooling=pooling, batch_size=batch_size)
        difference = (together.states - alone.states).norm(dim=-1) / alone.states.norm(dim=-1)
        assert float(difference.max()) < 1e-4
        assert_close(together.norms, alone.norms, rtol=1e-4, atol=0)


@pytest.mark.parametrize("arch", ["llama", "gpt2", "bloom"])
def test_the_result_does_not_depend_on_the_tokenizer_s_padding_side(arch):
    left, right = tiny_tokenizer(), tiny_tokenizer()
    left.padding_side, right.padding_side = "left", "right"
    for a, b in zip(collect(built(arch), left, TEXTS), collect(built(arch), right, TEXTS), strict=True):
        assert torch.equal(a, b)


def test_a_tokenizer_without_a_padding_token_is_read_with(tokenizer):
    bare = tiny_tokenizer()
    bare.pad_token = None
    assert torch.equal(collect(built("llama"), bare, TEXTS).states, collect(built("llama"), tokenizer, TEXTS).states)


def test_states_are_in_the_order_of_the_texts(tokenizer):
    model = built("llama")
    forwards = collect(model, tokenizer, TEXTS, batch_size=2).states
    backwards = collect(model, tokenizer, TEXTS[::-1], batch_size=2).states
    assert_close(forwards, backwards.flip(0), rtol=1e-4, atol=1e-5)


def test_special_tokens_inside_a_text_do_not_count(tokenizer):
    model, text = built("llama"), "<user>ab<end>c"
    ids = tokenizer(text).input_ids
    assert len(ids) == 5
    hidden = read_alone(model, "model.layers", ids)[:, [1, 2, 4]]
    found = collect(model, tokenizer, [text])
    assert_close(found.states[0], hidden.mean(1), rtol=1e-4, atol=1e-5)
    assert_close(found.norms[0], hidden.norm(dim=-1).mean(-1), rtol=1e-4, atol=0)


def blown_up(rows: slice, tokens: list[int]):
    """A tiny model in which some tokens get an exceptional norm in the last block, as sinks of real models do."""
    model = tiny_model()

    def blow_up(_module, _args, output):
        output[rows, tokens] += 1e4
        return output

    model.model.layers[-1].mlp.register_forward_hook(blow_up)
    return model


def test_the_sink_does_not_count_however_large_it_is(tokenizer):
    texts = ["Qabc", "Q hello there"]
    found = collect(blown_up(slice(None), [0]), tokenizer, texts, layers=[3])
    assert float(found.norms.max()) < 1e3
    hidden = read_alone(tiny_model(), "model.layers", tokenizer(texts[0]).input_ids)[3, 1:]
    assert_close(found.states[0, 0], hidden.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize(("text", "sinks"), [("QQQ hello", [0, 1, 2]), ("Q hello", [0, 1]), ("Q hello", [0, 6])])
def test_further_sinks_do_not_count_at_the_layers_where_they_are(text, sinks, pooling, tokenizer):
    found = collect(blown_up(slice(1), sinks), tokenizer, [text, "A do"], layers=[2, 3], pooling=pooling)
    hidden = read_alone(tiny_model(), "model.layers", tokenizer(text).input_ids)
    for column, layer in enumerate((2, 3)):
        counted = [i for i in range(1, len(text)) if layer == 2 or i not in sinks]
        wanted = hidden[layer, counted].mean(0) if pooling == "mean" else hidden[layer, counted[-1]]
        assert_close(found.states[0, column], wanted, rtol=1e-4, atol=1e-5)
        assert_close(found.norms[0, column], hidden[layer, counted].norm(dim=-1).mean(), rtol=1e-4, atol=0)


def test_a_passage_that_is_only_a_sink_is_read_all_the_same(tokenizer):
    found = collect(blown_up(slice(None), [0, 1]), tokenizer, [Passage("Qabc", 1, 2)], layers=[3])
    assert float(found.norms) > 1e3


# Passages.


@pytest.mark.parametrize("specials", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_of_a_passage_only_the_span_counts_but_all_of_it_is_read(specials, pooling):
    model, tokenizer = built("llama"), with_specials() if specials else tiny_tokenizer()
    text = "The word joy is short."
    hidden = read_alone(model, "model.layers", tokenizer(text).input_ids)[:, 9 + specials : 12 + specials]
    found = collect(model, tokenizer, [Passage(text, 9, 12), "Another, longer than the first one."], pooling=pooling)
    assert_close(found.states[0], hidden.mean(1) if pooling == "mean" else hidden[:, -1], rtol=1e-4, atol=1e-5)
    assert_close(found.norms[0], hidden.norm(dim=-1).mean(-1), rtol=1e-4, atol=0)


def test_a_passage_that_begins_with_the_text_still_leaves_its_first_token_out(tokenizer):
    model = built("llama")
    hidden = read_alone(model, "model.layers", tokenizer("joyful day").input_ids)[:, 1:6]
    assert_close(collect(model, tokenizer, [Passage("joyful day", 0, 6)]).states[0], hidden.mean(1))


def test_a_passage_counts_characters_not_bytes(tokenizer):
    model, text = built("llama"), "Ça, é là."
    assert len(tokenizer(text).input_ids) == len(text.encode()) == 12
    hidden = read_alone(model, "model.layers", tokenizer(text).input_ids)[:, 5:7]  # the two bytes of é
    assert_close(collect(model, tokenizer, [Passage(text, 4, 5)]).states[0], hidden.mean(1))


def test_a_passage_that_brings_its_own_special_tokens_gets_no_others():
    model, tokenizer = built("llama"), with_specials()
    text = "<user>hello"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    hidden = read_alone(model, "model.layers", ids)[:, 1:]
    found = collect(model, tokenizer, [Passage(text, 0, len(text), special_tokens=False)])
    assert_close(found.states[0], hidden.mean(1), rtol=1e-4, atol=1e-5)


def test_a_whole_passage_is_the_text_itself(tokenizer):
    model = built("llama")
    passages = [Passage.whole(text) for text in TEXTS]
    assert torch.equal(collect(model, tokenizer, passages).states, collect(model, tokenizer, TEXTS).states)


class SlowTokenizer:
    """A tokenizer that knows no offsets, as those of transformers that are written in Python."""

    is_fast = False

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.pad_token_id, self.all_special_ids = tokenizer.pad_token_id, tokenizer.all_special_ids

    def __call__(self, text, add_special_tokens=True, return_offsets_mapping=False):
        if return_offsets_mapping:
            raise NotImplementedError("return_offset_mapping is not available when using Python tokenizers.")
        return {"input_ids": self.tokenizer(text, add_special_tokens=add_special_tokens).input_ids}


@pytest.mark.parametrize("specials", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_tokenizer_without_offsets_gives_the_same(specials, pooling):
    fast = with_specials() if specials else tiny_tokenizer()
    texts = [
        *TEXTS,
        Passage("The word joy is short.", 9, 12),
        Passage("joyful day", 0, 6),
        Passage("a sad day", 2, 9),
        Passage("<user>hello<end>", 6, 11, special_tokens=False),
    ]
    one = collect(built("llama"), fast, texts, pooling=pooling)
    two = collect(built("llama"), SlowTokenizer(fast), texts, pooling=pooling)
    assert torch.equal(one.states, two.states)
    assert torch.equal(one.norms, two.norms)


# Layers.


@pytest.mark.parametrize("layers", [[2], [0, 3], [3, 1], [1, 1], [2, 0, 2], range(4)])
def test_layers_come_as_asked_for(layers, tokenizer):
    model = built("llama")
    everything = collect(model, tokenizer, TEXTS)
    some = collect(model, tokenizer, TEXTS, layers=layers)
    assert torch.equal(some.states, everything.states[:, list(layers)])
    assert torch.equal(some.norms, everything.norms[:, list(layers)])


@pytest.mark.parametrize("layer", [4, -1, 100])
def test_a_layer_that_is_not_there_is_an_error(layer, model, tokenizer):
    with pytest.raises(ToneError, match=rf"no layer {layer}: the model has layers 0 to 3"):
        collect(model, tokenizer, TEXTS, layers=[0, layer])


@pytest.mark.parametrize("arch", ["llama", "gpt2", "falcon"])
def test_the_model_runs_no_further_than_the_last_layer_asked_for(arch, tokenizer):
    model, path = tiny_model(built(arch).config), ARCHITECTURES[arch][0]
    ran = watched(model)
    collect(model, tokenizer, TEXTS, layers=[2, 0], batch_size=len(TEXTS))
    assert [name for name in ran if name.rpartition(".")[0] == path] == [f"{path}.{i}" for i in range(3)]


@every_architecture
def test_neither_the_language_model_head_nor_the_final_norm_is_run(arch, tokenizer):
    model, path = tiny_model(built(arch).config), ARCHITECTURES[arch][0]
    ran = watched(model)
    collect(model, tokenizer, TEXTS, batch_size=len(TEXTS))
    assert model.get_output_embeddings() is not None
    after = ran[ran.index(f"{path}.3") :]
    assert all(name.startswith(f"{path}.3") for name in after), after
    assert "" not in ran  # the causal model itself
    model(torch.tensor([[5, 6]]))
    assert "" in ran  # the watch works


# The model afterwards.


@every_architecture
def test_the_model_is_as_it_was(arch, tokenizer):
    model = built(arch)
    ids = torch.tensor([[5, 6, 7]])
    before, hooks, weights = model(ids).logits, hooks_of(model), model.state_dict().keys()
    collect(model, tokenizer, TEXTS, layers=[1])
    assert hooks_of(model) == hooks
    assert model.state_dict().keys() == weights
    assert torch.equal(model(ids).logits, before)
    assert model(ids, output_hidden_states=True).hidden_states[-1].shape == (1, 3, 32)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["a block", "the pooling"])
def test_hooks_are_gone_after_an_exception(error, where, tokenizer, monkeypatch):
    model = tiny_model()
    hooks = hooks_of(model)

    def fail(*_args, **_kwargs):
        raise error("stop")

    if where == "a block":
        monkeypatch.setattr(model.model.layers[2], "forward", fail)
    else:
        monkeypatch.setitem(POOLINGS, "mean", fail)
    with pytest.raises(error, match="stop"):
        collect(model, tokenizer, TEXTS)
    assert hooks_of(model) == hooks


def test_a_model_set_to_record_its_hidden_states_is_read_too_and_still_records(tokenizer):
    model = tiny_model(tiny_config(output_hidden_states=True))
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids)
    found = collect(model, tokenizer, TEXTS, layers=[1])
    assert_close(found.states, collect(tiny_model(), tokenizer, TEXTS, layers=[1]).states)
    after = model(ids)
    assert len(before.hidden_states) == len(after.hidden_states) == 5
    assert torch.equal(before.logits, after.logits)


def test_states_can_be_trained_on_and_take_no_part_in_gradients(model, tokenizer):
    found = collect(model, tokenizer, TEXTS)
    assert not found.states.requires_grad
    weight = torch.zeros(32, requires_grad=True)
    (found.states @ weight).sum().backward()  # an inference tensor would refuse
    assert weight.grad is not None


def test_no_block_output_outlives_the_next_block(tokenizer):
    model = tiny_model(tiny_config(num_hidden_layers=6))
    outputs: list[weakref.ref] = []
    alive: list[int] = []

    def count(_module, _args, output):
        outputs.append(weakref.ref(output))
        alive.append(sum(ref() is not None for ref in outputs))

    for block in model.model.layers:
        block.register_forward_hook(count)
    found = collect(model, tokenizer, TEXTS, batch_size=3)
    assert len(outputs) == 5 * 3  # the last ends the pass before this hook has its turn
    assert max(alive) <= 3  # this one, the one it was made from, at most one that a frame still names
    gc.collect()
    assert not any(ref() is not None for ref in outputs)
    assert found.states.untyped_storage().nbytes() == len(TEXTS) * 6 * 32 * 4


def test_long_texts_come_first_so_that_too_little_memory_shows_at_once(tokenizer):
    model = tiny_model()
    shapes: list[tuple[int, int]] = []
    model.model.layers[0].register_forward_hook(lambda _m, _a, output: shapes.append(tuple(output.shape[:2])))
    collect(model, tokenizer, TEXTS, batch_size=3)
    assert [rows for rows, _ in shapes] == [3, 3, 1]
    lengths = sorted((len(text) for text in TEXTS), reverse=True)
    assert [length for _, length in shapes] == [lengths[0], lengths[3], lengths[6]]


# Types and devices.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_model_of_any_dtype_gives_float32(dtype, pooling, tokenizer):
    model = tiny_model().to(dtype)
    found = collect(model, tokenizer, TEXTS, pooling=pooling, batch_size=1)
    assert found.states.dtype == found.norms.dtype == torch.float32
    states, norms = expected(model, "model.layers", TEXTS, tokenizer, pooling)
    assert_close(found.states, states, rtol=1e-4, atol=1e-5)  # pooled in float32, not in the model's own
    assert_close(found.norms, norms, rtol=1e-4, atol=0)


def test_offloaded_weights_are_read_through(tokenizer):
    from accelerate import cpu_offload

    model = tiny_model()
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert model.get_input_embeddings().weight.device.type == "meta"
    assert_close(collect(model, tokenizer, TEXTS).states, collect(tiny_model(), tokenizer, TEXTS).states)


# Poolings.


def test_a_pooling_is_one_function_and_one_entry(tokenizer, monkeypatch):
    def largest(hidden, content):
        return hidden.masked_fill(~content.bool().unsqueeze(-1), float("-inf")).amax(1)

    monkeypatch.setitem(POOLINGS, "largest", largest)
    model = built("llama")
    found = collect(model, tokenizer, TEXTS[:2], pooling="largest")
    for i, text in enumerate(TEXTS[:2]):
        hidden = read_alone(model, "model.layers", tokenizer(text).input_ids)[:, 1:]
        assert_close(found.states[i], hidden.amax(1), rtol=1e-4, atol=1e-5)


# Bad input.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        (Passage("A joyful day.", 3, 3), "is empty"),
        (Passage("A   joyful day.", 1, 3), "is empty"),
        ("a", "single token"),
        (Passage("joyful day", 0, 1), "single token"),
        ("<user>", "single token"),
    ],
)
def test_a_text_without_a_token_that_counts_is_an_error_that_names_its_place(text, said, tokenizer):
    model = tiny_model()
    ran = watched(model)
    with pytest.raises(InputError, match=rf"^Text 1 .*{said}"):
        collect(model, tokenizer, ["A door stood open.", text])
    assert ran == []  # checked before anything is read


def test_one_token_after_the_tokenizer_s_own_is_enough():
    model, tokenizer = built("llama"), with_specials()
    hidden = read_alone(model, "model.layers", tokenizer("a").input_ids)
    assert_close(collect(model, tokenizer, ["a"]).states[0], hidden[:, 1])


def test_a_text_beyond_the_context_is_an_error_that_says_how_long_it_is(tokenizer):
    model = tiny_model()
    ran = watched(model)
    with pytest.raises(InputError, match=r"^Text 2 has 257 tokens, the model reads at most 256: 'xx.*Shorten or split"):
        collect(model, tokenizer, ["ab", "cd", "x" * 257])
    assert ran == []


def test_a_text_of_exactly_the_context_is_read(model, tokenizer):
    assert collect(model, tokenizer, ["x" * 256], layers=[0]).states.isfinite().all()


def test_the_context_counts_the_tokenizer_s_own_tokens(model):
    with pytest.raises(InputError, match="has 257 tokens"):
        collect(model, with_specials(), ["x" * 255])


def test_no_text_gives_no_row(model, tokenizer):
    found = collect(model, tokenizer, [])
    assert found.states.shape == (0, 4, 32)
    assert found.norms.shape == (0, 4)


def test_an_unknown_pooling_is_an_error_that_lists_those_there_are(model, tokenizer):
    with pytest.raises(InputError, match=r"pooling 'median'.*mean, last"):
        collect(model, tokenizer, TEXTS, pooling="median")


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_1_is_an_error(batch_size, model, tokenizer):
    with pytest.raises(InputError, match=f"batch size is {batch_size}"):
        collect(model, tokenizer, TEXTS, batch_size=batch_size)


def test_no_progress_bar_is_drawn_into_a_file(model, tokenizer, capsys):
    collect(model, tokenizer, TEXTS)
    assert capsys.readouterr() == ("", "")
