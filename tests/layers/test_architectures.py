"""Every causal language model of transformers is steered to the bit; so are those that translate or see."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
)

import emosteer
from emosteer import layers
from emosteer.errors import IncompatibleModelError, InputError, ToneError
from emosteer.extraction import extract
from emosteer.layers import decoder_layers, hidden_of, hidden_size, with_hidden
from tests.conftest import few, small_concepts, tiny_model, tiny_tokenizer
from tests.layers.architectures import (
    UNBUILT,
    built,
    check,
    config,
    is_causal,
    is_told,
    model_types,
    row,
    shrunk,
    summary,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers warns about half of its own default configs

LEFT_OUT = 9
REFUSED = {"cpmant", "musicgen", "musicgen_melody", "prophetnet", "reformer"}

# Class → where the blocks of its decoder are.
SEQ2SEQ = {
    "t5": "decoder.block",
    "mt5": "decoder.block",
    "longt5": "decoder.block",
    "switch_transformers": "decoder.block",
    "t5gemma": "model.decoder.layers",
    "bart": "model.decoder.layers",
    "mbart": "model.decoder.layers",
    "marian": "model.decoder.layers",
    "pegasus": "model.decoder.layers",
    "m2m_100": "model.decoder.layers",
    "blenderbot": "model.decoder.layers",
    "led": "led.decoder.layers",
    "nllb-moe": "model.decoder.layers",
    "fsmt": "model.decoder.layers",
}
SEEING = {
    "llava": "model.language_model.layers",
    "llava_next": "model.language_model.layers",
    "idefics3": "model.text_model.layers",
    "smolvlm": "model.text_model.layers",
    "internvl": "model.language_model.layers",
    "mistral3": "model.language_model.layers",
    "qwen3_vl": "model.language_model.layers",
    "qwen3_vl_moe": "model.language_model.layers",
    "aya_vision": "model.language_model.layers",
    "gemma3": "model.language_model.layers",
    "florence2": "model.language_model.decoder.layers",
}


# One of each family for the quick run; the others are left to the full one.
# fmt: off
QUICK = {
    "bloom", "cohere2", "deepseek_v3", "falcon_h1", "gemma3n_text", "glm4", "gpt2", "gpt_neox", "granitemoe",
    "llama", "longcat_flash", "mamba2", "mpt", "musicgen", "opt", "phi3", "qwen3_moe", "recurrent_gemma",
    "rwkv", "xlnet", "bart", "fsmt", "t5", "florence2", "llava", "qwen3_vl", "gpt_neox_japanese", "hrm_text", "bert",
}
# fmt: on


def quickly(model_types: Iterable[str]) -> pytest.MarkDecorator:
    """A parameter `model_type`."""
    return pytest.mark.parametrize("model_type", few(model_types, *QUICK))


@quickly(model_types())
def test_a_model_of_every_type_is_steered_to_the_bit(model_type):
    became = row(model_type)
    if became.state != "works":
        assert model_type in UNBUILT.keys() | REFUSED, became.reason
        assert became.state in ("not built", "not supported")
        pytest.skip(became.reason)


@pytest.mark.slow
def test_nearly_every_type_can_be_built_and_steered():
    rows = [row(one) for one in model_types()]
    works = [one.model_type for one in rows if one.state == "works"]
    assert len(works) >= len(rows) - LEFT_OUT
    assert len(works) >= 150  # of 189 in transformers 5.23
    assert {one.model_type for one in rows if one.found and is_told(one.model_type)} == set(EITHER)
    assert {one.model_type for one in rows if one.found and one.found.causal is False} == {"xlm", "xlnet"}
    text = summary(rows)
    assert f"**{len(works)} are built here" in text
    assert all(f"`{one.model_type}`" in text for one in rows)


# Either encoders or decoders, as their config says; every other class is causal by itself.
EITHER = [
    *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert"),
    *("rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl", "xmod"),
]
SEEING_AHEAD = ("big_bird", "megatron-bert", "rembert", "roformer")


@quickly(EITHER)
def test_a_class_that_can_be_either_is_refused_as_an_encoder(model_type):
    assert is_told(model_type)
    with pytest.raises(IncompatibleModelError, match=r"in both directions.*is_decoder=True"):
        decoder_layers(built(config(model_type)))
    assert shrunk(model_type).config.is_decoder
    if model_type in SEEING_AHEAD and Version(transformers.__version__) < Version("5.23"):
        pytest.skip("as a decoder too, it sees the whole prompt in versions of transformers before 5.23")
    assert is_causal(shrunk(model_type))


@quickly(SEQ2SEQ)
def test_the_decoder_of_an_encoder_decoder_model_is_steered(model_type):
    if model_type == "fsmt" and Version(transformers.__version__) < Version("5.17"):
        pytest.skip("its decoder is given the whole text at each step and cuts off what it has read already")
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config(model_type)).float().eval()
    assert decoder_layers(model) is model.get_submodule(SEQ2SEQ[model_type])
    assert check(model).generates


def test_the_decoder_may_be_of_another_depth_than_the_encoder():
    for sizes in ({"encoder_layers": 3, "decoder_layers": 2}, {"encoder_layers": 2, "decoder_layers": 3}):
        small = config("bart")
        small.update(sizes)
        model = AutoModelForSeq2SeqLM.from_config(small)
        assert decoder_layers(model) is model.model.decoder.layers
        assert len(decoder_layers(model)) == sizes["decoder_layers"]


@quickly(SEEING)
def test_the_text_part_of_a_model_that_sees_is_steered(model_type):
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config(model_type)).float().eval()
    assert decoder_layers(model) is model.get_submodule(SEEING[model_type])
    assert check(model).generates


@quickly(sorted(REFUSED))
def test_what_cannot_be_steered_is_refused_with_the_reason(model_type):
    if row(model_type).state == "not built":
        pytest.skip("older transformers cannot build it from its default config")
    model = shrunk(model_type)
    with pytest.raises(IncompatibleModelError, match=rf"{type(model).__name__} cannot be steered: it"):
        emosteer.EmotionVectors.random(model, ["joy"])


@pytest.mark.parametrize("streams", [("deepseek_v4", 4), ("gemma3n_text", 4), ("qwen4_exp_text", 4), ("llama", 1)])
def test_streams_that_run_side_by_side_are_taken_as_one_wide_stream(streams):
    model_type, beside = streams
    model = shrunk(model_type)
    assert hidden_size(model) == model.config.hidden_size * beside
    assert emosteer.EmotionVectors.random(model, ["joy"]).hidden_size == hidden_size(model)


@pytest.mark.parametrize(
    ("model_type", "shape", "turned"),
    [("gemma3n_text", (4, 2, 10, 32), (2, 10, 128)), ("xlnet", (10, 2, 32), (2, 10, 32))],
)
def test_axes_in_another_order_are_turned_and_turned_back(model_type, shape, turned):
    block = decoder_layers(shrunk(model_type))[0]
    output = torch.randn(shape)
    hidden = hidden_of(output, block)
    assert hidden.shape == turned
    assert torch.equal(hidden[1, 7, :32], output[0, 1, 7] if len(shape) == 4 else output[7, 1])
    assert torch.equal(with_hidden(output, hidden, block), output)


def test_blocks_that_run_several_times_are_steered_each_time():
    assert row("hrm_text").found.repeated
    assert not row("llama").found.repeated


@pytest.mark.parametrize("auto", [AutoModelForCausalLM, AutoModelForMaskedLM, AutoModel])
def test_an_encoder_is_refused(auto):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = auto.from_config(AutoConfig.for_model("bert", vocab_size=64, **sizes))
    hint = "is_decoder=True" if auto is AutoModelForCausalLM else "AutoModelForCausalLM"
    with pytest.raises(IncompatibleModelError, match=rf"{type(model).__name__}.*{hint}"):
        decoder_layers(model)


@pytest.fixture
def odd():
    """A model whose config says nothing of how deep it is."""
    model = tiny_model()
    model.config.model_type = "odd"
    model.config.num_hidden_layers = 5
    return model


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(layers, "_paths", dict(layers._paths))


def test_layers_can_be_registered(odd, registry):
    with pytest.raises(IncompatibleModelError, match=r"No list of 5 decoder blocks.*register_layers\('odd', "):
        decoder_layers(odd)
    emosteer.register_layers("odd", "model.layers")
    assert decoder_layers(odd) is odd.model.layers


def test_layers_are_registered_once(registry):
    emosteer.register_layers("odd", "model.layers")
    with pytest.raises(InputError, match=r"'odd' are registered already, as 'model\.layers'"):
        emosteer.register_layers("odd", "model.blocks")
    with pytest.raises(InputError, match="registered already"):
        emosteer.register_layers("xlm", "transformer.layers")


def test_the_same_registration_again_changes_nothing(registry):
    """As in a notebook, whose cells are run twice."""
    emosteer.register_layers("xlm", "transformer.layer_norm2")
    before = dict(layers._paths)
    for _ in range(2):
        emosteer.register_layers("odd", "model.layers")
    assert layers._paths == {**before, "odd": "model.layers"}


@quickly(["longcat_flash", "hrm_text", "blt", "xlm", "gpt_neox_japanese"])
def test_all_blocks_are_read_and_extracted_from_whatever_the_config_counts(model_type):
    model = shrunk(model_type)
    vectors = extract(model, tiny_tokenizer(), small_concepts(), progress=False)
    assert vectors.layers == tuple(range(len(decoder_layers(model))))
    assert vectors.base_model.num_hidden_layers == len(decoder_layers(model))
    assert all(bool(direction.isfinite().all()) for direction in vectors.directions.values())
    emosteer.steer(model, vectors, {"joy": 1.0}, layers=[len(decoder_layers(model)) - 1])


def test_a_class_that_is_causal_by_itself_needs_no_is_decoder():
    model = shrunk("gpt_neox_japanese")
    assert model.config.is_decoder is False
    assert decoder_layers(model) is model.gpt_neox_japanese.layers


@pytest.mark.parametrize("path", ["model.blocks", "model.norm", "lm_head"])
def test_a_registered_path_that_holds_no_blocks_is_an_error(odd, registry, path):
    emosteer.register_layers("odd", path)
    with pytest.raises(IncompatibleModelError, match=rf"no list of blocks at '{path}'"):
        decoder_layers(odd)


def test_a_module_that_is_no_model_is_refused():
    with pytest.raises(IncompatibleModelError, match="Sequential is not a causal language model"):
        decoder_layers(nn.Sequential(nn.Linear(2, 2)))


def test_a_layer_that_does_not_exist_is_refused(model, vectors):
    with pytest.raises(ToneError, match=r"no layer 4.*0 to 3"):
        emosteer.steer(model, vectors, {"joy": 1.0}, layers=[4])
