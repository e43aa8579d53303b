"""What names and metadata of foreign files say: only clear layers are layers, and only what is added is imported."""

from __future__ import annotations

import pickle
import re
import sys
import types
import zipfile

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch

from emosteer import importing
from emosteer.errors import EmosteerWarning, FormatError, IncompatibleModelError, InputError, ToneError
from emosteer.importing.architectures import may_be
from emosteer.importing.names import emotion_of, is_block_output, places
from tests.conftest import few
from tests.importing.test_importing import DEPTH, WIDTH, by_hand, made, npy, steered

UNIT = torch.nn.functional.normalize(torch.arange(1.0, WIDTH + 1), dim=0)


def write_gguf(path, tensors, **fields):
    writer = gguf.GGUFWriter(path, "controlvector")
    for name, value in fields.items():
        add = {bool: writer.add_bool, str: writer.add_string, float: writer.add_float32, int: writer.add_uint32}
        add.get(type(value), writer.add_array)(name.replace("__", "."), value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


# Names.

LAYERS = {
    **dict.fromkeys(("7", "direction.7", "layer.7", "layers.7", "layer7", "layer_7", "L7", "block.7"), (None, 7)),
    **dict.fromkeys(("model.layers.7", "model.layers[7]", "model.language_model.layers.7", "blocks.7"), (None, 7)),
    **dict.fromkeys(("h.7", "transformer.h.7", "gpt_neox.layers.7", "blocks.7.hook_resid_post"), (None, 7)),
    **dict.fromkeys(("vector.7", "steering_vector.7", "resid_post.7", "hook_resid_post.7"), (None, 7)),
    **dict.fromkeys(("joy.7", "joy/7", "joy.layer.7", "joy/layer.7", "joy_layer7", "joy_layer_7"), ("joy", 7)),
    **dict.fromkeys(("joy.layers[7]", "joy/model.layers.7", "joy.blocks.7.hook_resid_post", "joy_L7"), ("joy", 7)),
    "self_confidence.7": ("self_confidence", 7),
    "joy": ("joy", None),
    "refusal_direction": ("refusal_direction", None),
    **dict.fromkeys(("", "direction", "vector", "steering_vector", "arr_0", "d"), (None, None)),
}
SITES = (
    *("mlp.7", "attn.7", "mlp_7", "self_attn.7", "joy_mlp.7", "attn", "mlp", "blocks.7.attn", "blocks.7.hook_mlp_out"),
    *(
        "model.layers.7.mlp",
        "model.layers[7].mlp.down_proj",
        "layer.7.self_attn.o_proj",
        "resid_mid.7",
        "q.7",
        "lm_head",
    ),
    *("resid_pre.7", "blocks.7.hook_resid_pre", "hidden_states.7", "residual.7", "resid.7", "input_layernorm.7"),
)
UNCLEAR = (
    *("pc1", "pc.1", "pc_1", "component.2", "head.3", "expert.1", "feature.12", "sae.7", "rank.1", "arr_1", "weight.3"),
    *("joy7", "joy_7", "joy 7", "joy.7.1", "direction.7.1", "layer_7_joy", "l2", "7.joy", "layer.99999999"),
)
NEGATIVE = ("-5", "direction.-5", "layer.-5", "layers[-5]", "joy.-5", "joy.layer.-1", "direction-5", "model.layers.-1")


@pytest.mark.parametrize("name", LAYERS)
def test_a_known_spelling_is_a_layer(name):
    assert places([name], "file")[name] == LAYERS[name]


@pytest.mark.parametrize("name", [*SITES, *UNCLEAR, *NEGATIVE])
def test_any_other_name_is_refused_in_one_line(name):
    reason = (
        "expected block outputs" if name in SITES else "not of a layer|layer or not" if name in UNCLEAR else "from 0 up"
    )
    with pytest.raises(FormatError, match=reason) as caught:
        places(["joy.1", name, "layer.2"], "file")
    assert "Understood: 'joy.1' as layer 1 of joy, 'layer.2' as layer 2." in str(caught.value)
    assert f"The array {name!r} of file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_site_is_refused_for_arrays_of_all_layers_too():
    assert emotion_of("joy", "file") == "joy"
    assert emotion_of("directions", "file") is None
    for name in ("attn", "mlp", "resid_pre", "hidden_states", "layer_norm"):
        with pytest.raises(FormatError, match="expected block outputs"):
            emotion_of(name, "file")
    assert is_block_output("blocks.3.hook_resid_post")
    assert not is_block_output("blocks.3.hook_resid_pre")


@pytest.mark.parametrize("way", ["gguf", "safetensors", "npz", "torch"])
def test_unclear_names_are_refused_when_the_file_is_read(tmp_path, way):
    names = ("direction.-3", "direction.1") if way == "gguf" else ("pc1", "pc2")
    tensors = {name: torch.ones(WIDTH) for name in names}
    path = tmp_path / "joy"
    if way == "gguf":
        write_gguf(path, tensors)
    elif way == "safetensors":
        safetensors.torch.save_file(tensors, path)
    elif way == "npz":
        with path.open("wb") as stream:
            np.savez(stream, **{name: tensor.numpy() for name, tensor in tensors.items()})
    else:
        torch.save(tensors, path)
    with pytest.raises(FormatError, match="of joy is of layer -3" if way == "gguf" else "that of pc, not of a layer"):
        importing.read(path)


def test_an_emotion_with_the_word_layer_is_steered_at_that_layer(model, tokenizer, tmp_path):
    written = made((1, 3))
    tensors = {f"joy_layer{i}": row for i, row in written.items()}
    safetensors.torch.save_file(tensors, tmp_path / "some.safetensors")
    vectors = importing.load(tmp_path / "some.safetensors", model, tokenizer)
    assert (vectors.emotions, vectors.layers) == (("joy",), (1, 3))
    torch.testing.assert_close(steered(model, vectors), by_hand(model, written, 1.0), rtol=1e-5, atol=1e-5)


# One direction for one layer.


WAYS = [(way, shape) for way in ("tensor", "dictionary", "safetensors", "npz") for shape in ((WIDTH,), (1, WIDTH))]


@pytest.mark.parametrize("case", few(WAYS, ("tensor", (WIDTH,)), ("npz", (1, WIDTH))), ids=str)
def test_one_direction_for_one_layer(model, tokenizer, tmp_path, case):
    way, shape = case
    (row,) = made((2,)).values()
    path, tensor = tmp_path / "joy", row.reshape(shape)
    if way == "npz":
        with path.open("wb") as stream:
            np.savez(stream, tensor.numpy())  # which numpy calls arr_0
    elif way == "safetensors":
        safetensors.torch.save_file({"direction": tensor}, path)
    else:
        torch.save(tensor if way == "tensor" else {"vector": tensor}, path)
    vectors = importing.load(path, model, tokenizer, layers=[2])
    assert (vectors.emotions, vectors.layers) == (("joy",), (2,))
    torch.testing.assert_close(steered(model, vectors), by_hand(model, {2: row}, 1.0), rtol=1e-5, atol=1e-5)
    for layers in (None, [1, 2]):
        with pytest.raises(FormatError, match=r"does not say of which\. Name it.*layers=\[15\], or --layers 15"):
            importing.load(path, model, tokenizer, layers=layers)
    for layer in (DEPTH, -1):
        with pytest.raises(IncompatibleModelError, match=f"of layer {layer}, the model has layers 0 to 3"):
            importing.load(path, model, tokenizer, layers=[layer])


def test_several_emotions_of_one_layer_and_what_the_file_says_of_it(model, tokenizer, tmp_path):
    torch.save({"joy": torch.ones(WIDTH), "fear": -torch.ones(WIDTH), "layer": 2}, tmp_path / "two.pt")
    vectors = importing.load(tmp_path / "two.pt", model, tokenizer, layers=[np.int64(2)])
    assert (vectors.emotions, vectors.layers) == (("joy", "fear"), (2,))
    with pytest.raises(FormatError, match="the file says layer 2"):
        importing.load(tmp_path / "two.pt", model, tokenizer)


# What a file says of itself.

PROJECTIVE = "expected vectors that are added"
DECLARED = [
    ({"glp__mode": "project", "glp__hook_point": "residual_stream_post_layer"}, PROJECTIVE),
    ({"dspark__mode": "project"}, PROJECTIVE),
    ({"controlvector__mode": "projective"}, PROJECTIVE),
    ({"controlvector__operation": "ablation"}, PROJECTIVE),
    ({"controlvector__method": "directional_ablation"}, PROJECTIVE),
    ({"operator": "clamp"}, PROJECTIVE),
    ({"mode": ["add", "project"]}, PROJECTIVE),
    ({"glp__mode": "add", "glp__rank": 2}, PROJECTIVE),
    ({"glp__mode": "add", "glp__layer_scales": [1.0, 2.0]}, PROJECTIVE),
    ({"glp__hook_point": "ffn_out"}, "expected block outputs"),
    ({"site": "attn"}, "expected block outputs"),
    ({"hook_name": "blocks.2.hook_resid_pre"}, "expected block outputs.*output of block N - 1"),
    ({"layer": "model.layers[2].mlp.down_proj"}, "expected block outputs"),
    ({"controlvector__normalize": True}, "added as they are"),
    ({"norm_preserving": "true"}, "added as they are"),
    ({"normalization": "unit"}, "not all of length 1"),
    ({"normalized": True}, "not all of length 1"),
    ({"norm": "layer"}, "not all of length 1"),
    ({"layer_convention": "hidden_states"}, "counted from 0"),
    ({"layer_offset": "1"}, "counted from 0"),
    ({"glp__layer_ids_zero_based": "10,11"}, "named for the layers 1, 2"),
]
HARMLESS = {
    "controlvector__method": "pca_diff",
    "controlvector__normalize": False,
    "controlvector__layer_count": 2,
    "glp__mode": "add",
    "glp__hook_point": "residual_stream_post_layer",
    "glp__alpha_default": 1.0,
    "glp__rank": 1,
    "glp__layer_ids_zero_based": "1,2",
    "operation": "Additive",
    "hook_name": "blocks.2.hook_resid_post",
    "hook": "resid_post_layer_2",
    "layer": "2",
    "layers": [1, 2],
    "target_layers": "all",
    "layer_convention": "block-0indexed",
    "normalized": False,
    "normalization": "none",
    "norm": 5.25,
    "token_position": "last",
}


def texts(fields):
    return {key.replace("__", "."): value if isinstance(value, str) else str(value) for key, value in fields.items()}


@pytest.mark.parametrize(("fields", "reason"), DECLARED, ids=str)
@pytest.mark.parametrize("way", ["gguf", "safetensors"])
def test_a_file_for_something_else_is_refused(tmp_path, fields, reason, way):
    tensors = {"direction.1": UNIT * 3, "direction.2": UNIT * 3}
    if way == "gguf":
        write_gguf(tmp_path / "joy", tensors, **fields)
    else:
        safetensors.torch.save_file(tensors, tmp_path / "joy", texts(fields))
    with pytest.raises(FormatError, match=rf"joy says .*{reason}") as caught:
        importing.read(tmp_path / "joy")
    assert "\n" not in str(caught.value)
    assert (
        "without that field" in str(caught.value) or "Make it anew" in str(caught.value) or "anew" in str(caught.value)
    )


@pytest.mark.parametrize("way", ["gguf", "safetensors"])
def test_a_file_that_says_what_we_do_is_read(tmp_path, way):
    tensors = {"direction.1": UNIT * 3, "direction.2": UNIT * 3}
    if way == "gguf":
        write_gguf(tmp_path / "joy", tensors, general__type="projector", **HARMLESS)  # of the file, not the vectors
    else:
        safetensors.torch.save_file(tensors, tmp_path / "joy", {"format": "pt", **texts(HARMLESS)})
    assert len(importing.read(tmp_path / "joy").contents.arrays) == 2


def test_vectors_of_length_one_that_are_said_to_be_are_read(tmp_path):
    for i, said in enumerate(("unit", "l2", "True")):
        safetensors.torch.save_file({"layer.1": UNIT}, tmp_path / f"{i}", {"normalization": said})
        importing.read(tmp_path / f"{i}")


def test_the_other_formats_say_it_in_their_own_ways(tmp_path):
    safetensors.torch.save_file({"layer.1": UNIT}, tmp_path / "json", {"config": '{"steering": {"mode": "project"}}'})
    np.savez(tmp_path / "joy.npz", joy=np.ones((DEPTH, WIDTH)), mode="project", layer=3)
    np.savez(tmp_path / "meta.npz", d=np.ones(WIDTH), meta='{"hook_point": "mlp_out", "layer": 3}')
    torch.save({"joy.1": UNIT, "operation": "ablate"}, tmp_path / "joy.pt")
    for name in ("json", "joy.npz", "meta.npz", "joy.pt"):
        with pytest.raises(FormatError, match=f"{name} says '(mode|hook_point|operation)' = '"):
            importing.read(tmp_path / name)


@pytest.mark.parametrize(("descr", "content"), [("<U1", b"\xff" * 4), ("<U0", b""), ("<U1", b""), ("|V4", b"mode")])
def test_a_text_that_is_none_is_one_line(tmp_path, descr, content):
    with zipfile.ZipFile(tmp_path / "joy.npz", "w") as archive:
        archive.writestr("mode.npy", npy("()", repr(descr)) + content)
    with pytest.raises(FormatError, match=r"mode\.npy"):
        importing.read(tmp_path / "joy.npz")


def test_a_line_break_in_a_name_breaks_no_line(tmp_path):
    torch.save({"joy.1": UNIT, "a\nb.mode": "project\n"}, tmp_path / "joy.pt")
    with pytest.raises(FormatError) as caught:
        importing.read(tmp_path / "joy.pt")
    assert "\n" not in str(caught.value)


def test_another_factor_than_the_callers_warns(model, tokenizer, tmp_path):
    torch.save({"joy.1": UNIT, "alpha": 4.0}, tmp_path / "joy.pt")
    with pytest.warns(
        EmosteerWarning, match=r"says 'alpha' = '4\.0', the vectors are imported with 1\. .*coefficient=4"
    ):
        importing.load(tmp_path / "joy.pt", model, tokenizer)
    importing.load(tmp_path / "joy.pt", model, tokenizer, coefficient=4)


def test_a_second_tensor_of_one_name_is_refused(tmp_path):
    write_gguf(tmp_path / "joy", {"direction.1": UNIT, "direction.2": UNIT})
    data = (tmp_path / "joy").read_bytes()
    (tmp_path / "joy").write_bytes(data.replace(b"direction.2", b"direction.1"))
    with pytest.raises(FormatError, match=r"two tensors 'direction\.1'"):
        importing.read(tmp_path / "joy")


# The architecture that a file names.


@pytest.mark.parametrize(
    ("said", "model_type"),
    [
        *(("qwen2.5", "qwen2"), ("Qwen/Qwen2.5-7B-Instruct", "qwen2"), ("qwen2", "qwen2"), ("qwen2moe", "qwen2_moe")),
        *(("llama", "mistral"), ("Meta-Llama-3-8B", "llama"), ("llama-3.1", "llama"), ("gptneox", "gpt_neox")),
        *(("phi2", "phi"), ("phi-3.5-mini", "phi3"), ("gemma3", "gemma3_text"), ("gemma-3-270m", "gemma3_text")),
        *(("command-r", "cohere"), ("falcon-h1", "falcon_h1"), ("deepseek2", "deepseek_v3"), ("gpt-oss", "gpt_oss")),
        *(("DeepSeek-R1-Distill-Qwen-7B", "qwen2"), ("HuggingFaceTB/SmolLM2-135M", "llama"), ("olmo2", "olmo3")),
    ],
)
def test_an_architecture_goes_by_several_names(said, model_type):
    assert may_be(said, model_type)


@pytest.mark.parametrize(
    ("said", "model_type"),
    [
        *(("mistral", "llama"), ("qwen3", "qwen2"), ("gemma2", "gemma"), ("phi3", "phi"), ("llama4", "llama")),
        *(("falcon-h1", "falcon"), ("qwen2moe", "qwen2"), ("stories260K", "llama")),
    ],
)
def test_another_architecture_is_one(said, model_type):
    assert not may_be(said, model_type)


def test_no_warning_for_a_hint_in_other_words_or_none(model, tokenizer, tmp_path):
    for i, hint in enumerate(("Llama-3.2-1B", "")):
        fields = {"controlvector__model_hint": hint, "controlvector__normalize": False}
        importing.load(
            write_gguf(tmp_path / f"joy{i}", {"direction.1": UNIT}, **fields), model, tokenizer, emotion="joy"
        )


# Files that could execute code.


class ControlVector:
    """As repeng has it: a model type, and a vector for each layer."""

    def __init__(self):
        self.model_type, self.directions = "llama", {1: np.ones(WIDTH, np.float32)}


@pytest.mark.parametrize("way", ["pickle", "torch"])
def test_a_pickle_of_repeng_gets_the_hint_for_repeng(tmp_path, monkeypatch, way):
    module = types.ModuleType("repeng.extract")
    module.ControlVector = ControlVector
    monkeypatch.setattr(ControlVector, "__module__", "repeng.extract")
    monkeypatch.setitem(sys.modules, "repeng", types.ModuleType("repeng"))
    monkeypatch.setitem(sys.modules, "repeng.extract", module)
    if way == "pickle":
        (tmp_path / "joy").write_bytes(pickle.dumps(ControlVector()))
    else:
        torch.save(ControlVector(), tmp_path / "joy")
    with pytest.raises(FormatError, match=r"vector\.export_gguf\('NAME\.gguf'\)") as caught:
        importing.read(tmp_path / "joy")
    assert "layer_activations" not in str(caught.value)


def test_a_pickle_of_another_library_gets_a_hint_that_fits_any(tmp_path):
    (tmp_path / "joy").write_bytes(pickle.dumps({1: np.ones(3)}))
    with pytest.raises(FormatError, match=re.escape("for i, v in vectors.items()")):
        importing.read(tmp_path / "joy")


def test_what_a_torch_file_holds_beside_tensors_is_named(tmp_path):
    torch.save({"joy": {15: torch.ones(WIDTH)}}, tmp_path / "joy")
    with pytest.raises(FormatError, match=r"holds dict as 'joy', expected tensors.*'joy\.7': tensor"):
        importing.read(tmp_path / "joy")


# Arguments.


def test_nothing_to_import_is_one_line(model, tokenizer):
    for ask in (importing.load, importing.convert):
        with pytest.raises(InputError, match="No file to import is named"):
            ask([], model, tokenizer)


@pytest.mark.parametrize("layers", ["2", [2.0], [], [True], [None]])
def test_layers_are_whole_numbers(model, tokenizer, tmp_path, layers):
    torch.save(UNIT, tmp_path / "joy.pt")
    with pytest.raises(ToneError, match="layer"):
        importing.load(tmp_path / "joy.pt", model, tokenizer, layers=layers)


def test_one_layer_needs_no_list(model, tokenizer, tmp_path):
    torch.save(UNIT, tmp_path / "joy.pt")
    assert importing.load(tmp_path / "joy.pt", model, tokenizer, layers=2).layers == (2,)


def test_one_direction_on_the_command_line(command_line, model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    torch.save(UNIT, tmp_path / "joy.pt")
    arguments = ["import", tmp_path / "joy.pt", "--model", tmp_path / "model", "--output", tmp_path / "out"]
    status, _, err = command_line(*arguments)
    assert status == 1
    assert "--layers 15" in err
    assert err.count("\n") == 1
    status, _, err = command_line(*arguments, "--layers", "2")
    assert (status, err) == (0, "")
