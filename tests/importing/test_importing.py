"""Vectors of other libraries: strength 1.0 does what the producer does, and a stranger's file does nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import random
import struct
import sys
import tracemalloc
import types
import zipfile
from contextlib import contextmanager

import gguf
import numpy as np
import pytest
import safetensors.torch
import torch

import emosteer
from emosteer import importing
from emosteer.errors import EmosteerError, EmosteerWarning, FormatError, IncompatibleModelError, InputError, ToneError
from emosteer.importing import archives, files, importer, torch_files
from tests.conftest import few, tiny_model, tiny_tokenizer
from tests.oracle import added, logits_of

DEPTH, WIDTH = 4, 32
IDS = torch.tensor([[1, 40, 17, 93, 55, 8, 201, 77]])


def made(layers=(1, 2, 3), *, seed=0, scale=0.4) -> dict[int, torch.Tensor]:
    """Vectors of unlike lengths, as a producer may have them."""
    generator = torch.Generator().manual_seed(seed)
    return {i: torch.randn(WIDTH, generator=generator) * scale * (i + 1) for i in layers}


def grid(vectors: dict[int, torch.Tensor]) -> torch.Tensor:
    return torch.stack([vectors.get(i, torch.zeros(WIDTH)) for i in range(DEPTH)])


def write_gguf(path, vectors, *, hint="llama", architecture="controlvector", dtype=np.float32):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_string("controlvector.model_hint", hint)
    writer.add_uint32("controlvector.layer_count", len(vectors))
    writer.add_array("notes", ["a", "b"])
    for layer, vector in vectors.items():
        writer.add_tensor(f"direction.{layer}", vector.numpy().astype(dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@contextmanager
def like_steering_vectors():
    """A dataclass of the name and the fields that steering-vectors has, for as long as a file is written."""
    module = types.ModuleType("steering_vectors.steering_vector")

    @dataclasses.dataclass
    class SteeringVector:
        layer_activations: dict
        layer_type: str = "decoder_block"

    SteeringVector.__module__, SteeringVector.__qualname__ = module.__name__, "SteeringVector"
    module.SteeringVector = SteeringVector
    names = {"steering_vectors": types.ModuleType("steering_vectors"), module.__name__: module}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield SteeringVector
    finally:
        for name, old in before.items():
            sys.modules.pop(name)
            if old is not None:
                sys.modules[name] = old


def write_steering_vector(path, vectors, **fields):
    with like_steering_vectors() as steering_vector:
        torch.save(steering_vector(vectors, **fields), path)
    return path


def write_safetensors(path, arrays):
    safetensors.torch.save_file(arrays, path)
    return path


def write_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def write_torch(path, content):
    torch.save(content, path)
    return path


def bf16(vectors):
    return {i: v.bfloat16().float() for i, v in vectors.items()}


WAYS = {
    "joy.gguf": write_gguf,
    "joy.pt": write_steering_vector,
    "joy.pth": write_torch,
    "joy.safetensors": lambda path, v: write_safetensors(path, {f"layer.{i}": row for i, row in v.items()}),
    "grid.safetensors": lambda path, v: write_safetensors(path, {"joy": grid(v)}),
    "bf16.safetensors": lambda path, v: write_safetensors(path, {"joy": grid(v).bfloat16()}),
    "named.safetensors": lambda path, v: write_safetensors(path, {f"joy.{i}": row for i, row in v.items()}),
    "grid.npz": lambda path, v: write_npz(path, joy=grid(v).numpy()),
    "float64.npz": lambda path, v: write_npz(path, joy=np.asfortranarray(grid(v).double().numpy())),
    "packed.npz": lambda path, v: np.savez_compressed(path, joy=grid(v).numpy()),
    "joy.npz": lambda path, v: write_npz(path, **{str(i): row.numpy() for i, row in v.items()}),
}


def by_hand(model, vectors: dict[int, torch.Tensor], coefficient: float, ids=IDS, *, first: int = 1) -> torch.Tensor:
    """Logits with `coefficient · vector` added to each block's output, from token `first` on."""

    change = {layer: coefficient * vector for layer, vector in vectors.items()}
    with added(model.model.layers, change, since=first):
        return logits_of(model, ids)


def steered(model, vectors, emotion="joy", ids=IDS) -> torch.Tensor:
    with torch.no_grad(), emosteer.steer(model, vectors, {emotion: 1.0}):
        return model(ids).logits


@pytest.mark.parametrize(("way", "coefficient"), [*((way, 1.0) for way in WAYS), ("joy.gguf", -2.5), ("joy.pt", 3.0)])
def test_strength_one_is_the_producers_coefficient(model, tokenizer, tmp_path, way, coefficient):
    written = made()
    WAYS[way](tmp_path / way, written)
    vectors = importing.load(tmp_path / way, model, tokenizer, coefficient=coefficient)
    expected = bf16(written) if way.startswith("bf16") else written
    assert vectors.emotions == ("joy",)
    assert vectors.layers == (1, 2, 3)
    torch.testing.assert_close(steered(model, vectors), by_hand(model, expected, coefficient), rtol=1e-5, atol=1e-5)
    # The first token is the one difference, and it is one: the producers steer it too.
    everywhere = by_hand(model, expected, coefficient, first=0)
    assert not torch.allclose(steered(model, vectors), everywhere, atol=1e-2)


def test_what_is_stored(model, tokenizer, tmp_path):
    file = write_gguf(tmp_path / "joy.gguf", made())
    vectors = importing.load(file, model, tokenizer, coefficient=2)
    source = vectors.extraction["sources"]["joy"]
    assert vectors.extraction["method"] == "imported"
    assert source == {
        "format": "gguf",
        "producer": "repeng or llama.cpp",
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "coefficient": 2.0,
    }
    dose = vectors.doses["joy"]
    assert (dose.cost, dose.hit_rate, dose.budget, dose.scope) == (None, None, None, "all")
    assert sum(dose.weights) == pytest.approx(1)
    extracted = emosteer.extract(model, tokenizer, emosteer.ConceptSet.load("en").subset(["joy"]), progress=False)
    torch.testing.assert_close(vectors.residual_norm, extracted.residual_norm[1:])  # a dose means the same in both
    for folder in ("a", "b"):
        importing.load(file, model, tokenizer, coefficient=2).save_pretrained(tmp_path / folder)
    for name in ("vectors.safetensors", "config.json", "README.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    again = emosteer.EmotionVectors.from_pretrained(tmp_path / "a")
    assert torch.equal(steered(model, again), steered(model, vectors))


def test_a_row_of_zeros_and_layers_not_asked_for_are_left_out(model, tokenizer, tmp_path):
    vectors = made(range(DEPTH))
    file = write_npz(tmp_path / "x.npz", joy=grid({i: v for i, v in vectors.items() if i != 2}).numpy())
    assert importing.load(file, model, tokenizer).layers == (0, 1, 3)
    few = importing.load(file, model, tokenizer, layers=[3, 1])
    torch.testing.assert_close(steered(model, few), by_hand(model, {1: vectors[1], 3: vectors[3]}, 1.0))
    with pytest.raises(ToneError, match=r"'joy' has no vector at layer 2. It has: 0, 1, 3"):
        importing.load(file, model, tokenizer, layers=[1, 2])
    with pytest.raises(ToneError, match="No layer"):
        importing.load(file, model, tokenizer, layers=[])


def test_several_files_and_emotions_become_one_set(model, tokenizer, tmp_path):
    joy, fear, calm = made(seed=1), made(seed=2), made(seed=3)
    paths = [
        write_gguf(tmp_path / "1.gguf", joy),
        write_safetensors(
            tmp_path / "2.safetensors",
            {f"{name}.{i}": row for name, v in (("Fear", fear), ("calm", calm)) for i, row in v.items()},
        ),
    ]
    vectors = importing.load(paths, model, tokenizer, emotion=["joy", "fear", "calm"])
    for name, expected in (("joy", joy), ("fear", fear), ("calm", calm)):
        torch.testing.assert_close(steered(model, vectors, name), by_hand(model, expected, 1.0), rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match=r"'1' is not a name.*'1', 'Fear', 'calm'"):
        importing.load(paths, model, tokenizer)
    with pytest.raises(InputError, match="2 names are given"):
        importing.load(paths, model, tokenizer, emotion=["joy", "fear"])
    with pytest.raises(InputError, match="Two emotions"):
        importing.load(paths, model, tokenizer, emotion=["joy", "joy", "calm"])
    other = write_gguf(tmp_path / "other.gguf", made((1, 2)))
    with pytest.raises(FormatError, match=r"'joy' has vectors at the layers 1, 2, 3, 'other' at 1, 2"):
        importing.load([paths[0], other], model, tokenizer, emotion=["joy", "other"])


def test_another_architecture_warns(model, tokenizer, tmp_path):
    with pytest.warns(EmosteerWarning, match="for mistral, the model is llama"):
        importing.load(write_gguf(tmp_path / "joy.gguf", made(), hint="mistral"), model, tokenizer)


ONES = np.ones((DEPTH, WIDTH), np.float32)
BAD = {
    "NaN": (lambda p: write_npz(p, joy=ONES * np.nan), FormatError, "not finite"),
    "zeros": (lambda p: write_npz(p, joy=ONES * 0), FormatError, "zero"),
    "whole numbers": (lambda p: write_npz(p, joy=ONES.astype(int)), FormatError, "int64.*floating"),
    "width": (lambda p: write_npz(p, joy=ONES[:, :-1]), IncompatibleModelError, "31 wide.* 32 wide"),
    "depth": (lambda p: write_npz(p, joy=ONES[:-1]), IncompatibleModelError, "3 rows.*4 layers"),
    "embeddings": (lambda p: write_npz(p, joy=np.ones((5, 32))), IncompatibleModelError, "5 rows.*embeddings"),
    "3-D": (lambda p: write_npz(p, joy=ONES[None]), FormatError, r"\[1, 4, 32\].*\[4, 32\]"),
    "a number": (lambda p: write_npz(p, joy=ONES[0, 0]), FormatError, "no arrays"),
    "layer": (lambda p: write_gguf(p, made((2, 4))), IncompatibleModelError, "layer 4.*layers 0 to 3"),
    "twice": (lambda p: write_npz(p, **{"1": ONES[0], "layer.1": ONES[0]}), FormatError, "of layer 1, as is"),
    "no layer": (lambda p: write_npz(p, joy=ONES[0]), FormatError, r"does not say of which.*layers=\[15\]"),
    "minus": (lambda p: write_torch(p, {-1: torch.ones(WIDTH)}), FormatError, "is of layer -1.*from 0 up"),
    "huge": (lambda p: write_npz(p, joy=ONES * 1e30), InputError, "smaller coefficient"),
    "a model": (lambda p: write_gguf(p, made(), architecture="llama"), FormatError, "'llama'.*'controlvector'"),
    "other site": (lambda p: write_steering_vector(p, made(), layer_type="mlp"), FormatError, "'mlp'.*decoder_block"),
    "objects": (lambda p: write_npz(p, joy=np.array([{}])), FormatError, "object"),
    "nothing": (write_npz, FormatError, "no arrays|damaged|known"),
    "text": (lambda p: p.write_text("joy, joy, joy, joy"), FormatError, "known"),
    "empty": (lambda p: p.write_bytes(b""), FormatError, "known"),
    "missing": (lambda p: None, FormatError, "no file"),
    "folder": (lambda p: p.mkdir(), FormatError, "no file"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said(model, tokenizer, tmp_path, case):
    write, error, message = BAD[case]
    write(tmp_path / "joy.npz")
    with pytest.raises(error, match=message):
        importing.load(tmp_path / "joy.npz", model, tokenizer)


def test_vectors_of_emosteer_need_no_importing(vectors, tmp_path):
    vectors.save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="already"):
        importing.read(tmp_path / "vectors.safetensors")


@pytest.mark.parametrize("coefficient", [0, float("nan"), float("inf"), "1", True])
def test_a_coefficient_is_a_number(model, tokenizer, tmp_path, coefficient):
    with pytest.raises(InputError, match="coefficient"):
        importing.load(write_gguf(tmp_path / "joy.gguf", made()), model, tokenizer, coefficient=coefficient)


# What hostile files do.


class Calls:
    """Pickled, it makes a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def torch_file(path, program: bytes, *, data: bytes = b"\0" * 16, packed: bool = False, extra: str | None = None):
    """A file as torch.save lays it out, around any pickle."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in (("data.pkl", program), ("version", b"3\n"), ("byteorder", b"little"), ("data/0", data)):
            archive.writestr(f"a/{name}", content)
        if extra:
            archive.writestr(extra, program)
    return path


def lying_tensor(numel: int) -> bytes:
    """The pickle of a tensor that claims more numbers than its storage of four has."""
    stream = io.BytesIO()
    torch.save({0: torch.ones(4)}, stream)
    with zipfile.ZipFile(stream) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        program = archive.read(name)
    return program.replace(b"K\x04tq", b"J" + struct.pack("<i", numel) + b"tq").replace(
        b"K\x04\x85q", b"J" + struct.pack("<i", numel) + b"\x85q"
    )


@pytest.fixture
def hostile(tmp_path):
    """Case → writes a file that would leave `touched` behind if it were run."""
    touch = f"touch {tmp_path / 'touched'}"
    run, evaluate = Calls(os.system, touch), Calls(eval, f"__import__('os').system({touch!r})")
    nested = {"joy": torch.ones(2, 2), "more": [{"a": (1, [run])}]}
    return {
        "pickle": lambda p: p.write_bytes(pickle.dumps(run)),
        "pickle of tensors": lambda p: p.write_bytes(pickle.dumps({0: torch.ones(WIDTH)})),
        "torch.save without a zip": lambda p: torch.save({0: run}, p, _use_new_zipfile_serialization=False),
        "os.system": lambda p: write_torch(p, run),
        "eval": lambda p: write_torch(p, evaluate),
        "nested": lambda p: write_torch(p, nested),
        "protocol 4": lambda p: torch_file(p, pickle.dumps(run, 4)),
        "INST": lambda p: torch_file(p, b"(S'" + touch.encode() + b"'\nios\nsystem\n."),
        "extension": lambda p: torch_file(p, b"\x80\x02\x82\x01)R."),
        "bytearray of a terabyte": lambda p: torch_file(p, pickle.dumps(Calls(bytearray, 2**40), 2)),
        "more numbers than bytes": lambda p: torch_file(p, lying_tensor(2**29)),
        "a text of an exabyte": lambda p: torch_file(p, b"\x80\x02\x8d" + struct.pack("<Q", 2**60) + b"joy"),
        "an endless pickle": lambda p: torch_file(p, b"\x80\x02" + b"(" * 1000),
        "two pickles": lambda p: torch_file(p, pickle.dumps({}, 2), extra="b/data.pkl"),
        "zip bomb as torch": lambda p: torch_file(p, pickle.dumps({}, 2), data=b"\0" * 10**7, packed=True),
        "pickle in npz": lambda p: np.savez(p, joy=np.array([run], dtype=object)),
    }


CASES = (
    *("pickle", "pickle of tensors", "torch.save without a zip", "os.system", "eval", "nested", "protocol 4", "INST"),
    *("extension", "bytearray of a terabyte", "more numbers than bytes", "a text of an exabyte", "an endless pickle"),
    *("two pickles", "zip bomb as torch", "pickle in npz"),
)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_nothing_in_a_file_is_run(tmp_path, hostile, case):
    path = tmp_path / "evil.npz"
    hostile[case](path)
    with pytest.raises(FormatError) as caught:
        importing.read(path)
    assert not (tmp_path / "touched").exists()
    if case in ("os.system", "nested", "eval"):
        assert "nothing in it was run" in str(caught.value)
        assert "weights_only=False" in str(caught.value)  # how to convert it


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")  # torch, which then refuses it
@pytest.mark.parametrize("case", ["os.system", "eval", "nested", "protocol 4", "INST", "extension"])
def test_the_second_wall_stands_alone(tmp_path, hostile, monkeypatch, case):
    monkeypatch.setattr(torch_files, "_program", lambda data, name: b"")
    hostile[case](tmp_path / "evil.pt")
    with pytest.raises(FormatError, match="cannot be read as tensors"):
        importing.read(tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()


def test_two_entries_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "joy.npz", "w") as archive:
        archive.writestr("joy.npy", npy("(1,)") + b"\0" * 4)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("joy.npy", npy("(1,)") + b"\0" * 4)
    with pytest.raises(FormatError, match="two entries"):
        importing.read(tmp_path / "joy.npz")


def test_the_hostile_pickles_would_have_run(tmp_path, hostile):
    hostile["nested"](tmp_path / "evil.pt")
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "touched").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    for module in (archives, files):
        monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    np.savez_compressed(tmp_path / "joy.npz", joy=np.zeros(10_000))
    assert (tmp_path / "joy.npz").stat().st_size < 10_000
    with pytest.raises(FormatError, match="would unpack to 80"):
        importing.read(tmp_path / "joy.npz")
    (tmp_path / "joy.gguf").write_bytes(b"GGUF" + b"\0" * 10_000)
    with pytest.raises(FormatError, match="10004 bytes, expected at most"):
        importing.read(tmp_path / "joy.gguf")


def test_a_zip_that_lies_about_its_size_is_cut_there(tmp_path):
    np.savez_compressed(tmp_path / "joy.npz", joy=np.zeros(10**6))
    data = (tmp_path / "joy.npz").read_bytes()
    size = struct.pack("<I", 8_000_128)
    assert data.count(size) >= 1
    (tmp_path / "joy.npz").write_bytes(data.replace(size, struct.pack("<I", 200)))
    tracemalloc.start()
    with pytest.raises(FormatError, match="damaged"):
        importing.read(tmp_path / "joy.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6


def npy(shape: str, descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.parametrize(
    "array",
    [
        npy("(1000000000000,)"),
        npy("(-1,)") + b"\0" * 4,
        npy("(99999999999999999999, 99999999999999999999)"),
        npy("(4,)", "'|O'") + b"\0" * 32,
        npy("(4,)", "[('a', '<f4')]") + b"\0" * 16,
        npy("(4,)", "'<f16'") + b"\0" * 64,
        npy("(4,") + b"\0" * 16,
        npy("__import__('os').getcwd()"),
        b"\x93NUMPY\x03\x00" + b"\0" * 20,
        b"\x93NUMPY\x01\x00\xff\xff",
        b"",
    ],
)
def test_a_numpy_header_that_lies(tmp_path, array):
    with zipfile.ZipFile(tmp_path / "joy.npz", "w") as archive:
        archive.writestr("joy.npy", array)
    with pytest.raises(FormatError, match=r"joy\.npy"):
        importing.read(tmp_path / "joy.npz")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


HEADER = b"GGUF" + struct.pack("<I", 3)
KIND = text("general.architecture") + struct.pack("<I", 8) + text("controlvector")
VECTOR = text("direction.1") + struct.pack("<I", 1)


@pytest.mark.parametrize(
    "content",
    [
        HEADER,
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        HEADER + struct.pack("<QQ", 2**60, 1) + KIND,
        HEADER + struct.pack("<QQ", 0, 2**60) + KIND,
        HEADER + struct.pack("<QQQ", 0, 1, 2**62),
        HEADER + struct.pack("<QQ", 0, 1) + text("x") + struct.pack("<IIQ", 9, 0, 2**40),
        HEADER + struct.pack("<QQ", 0, 1) + text("x") + struct.pack("<IIQ", 9, 8, 2**60),
        HEADER + struct.pack("<QQ", 0, 1) + text("x") + struct.pack("<IIQ", 9, 9, 1),
        HEADER + struct.pack("<QQ", 0, 1) + text("x") + struct.pack("<I", 99),
        HEADER + struct.pack("<QQ", 1, 1) + KIND + VECTOR + struct.pack("<QIQ", 2**61, 0, 0),
        HEADER + struct.pack("<QQ", 1, 1) + KIND + VECTOR + struct.pack("<QIQ", 4, 0, 2**63) + b"\0" * 64,
        HEADER + struct.pack("<QQ", 1, 1) + KIND + VECTOR + struct.pack("<QIQ", 32, 2, 0) + b"\0" * 64,
        HEADER + struct.pack("<QQ", 1, 1) + KIND + VECTOR + struct.pack("<QIQ", 0, 0, 0) + b"\0" * 64,
        HEADER + struct.pack("<QQ", 1, 1) + KIND + text("direction.1") + struct.pack("<I", 2**31),
        HEADER + struct.pack("<QQ", 0, 2) + KIND + text("general.alignment") + struct.pack("<II", 4, 0),
        HEADER + struct.pack("<QQ", 0, 1) + KIND,
    ],
)
def test_a_gguf_file_that_lies(tmp_path, content):
    (tmp_path / "joy.gguf").write_bytes(content)
    with pytest.raises(FormatError, match="joy"):
        importing.read(tmp_path / "joy.gguf")


@pytest.mark.parametrize(
    "way", few(["joy.gguf", "joy.pt", "joy.safetensors", "grid.npz", "packed.npz"], "joy.gguf", "joy.pt")
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of numpy and torch, about what they were given
def test_damage_of_any_kind_is_an_error_of_ours_or_harmless(model, tmp_path, way):
    WAYS[way](tmp_path / way, made())
    whole, chance = (tmp_path / way).read_bytes(), random.Random(5)
    for _ in range(150):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])])
        for _ in range(chance.randrange(1, 4)):
            if damaged:
                damaged[chance.randrange(len(damaged))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        (tmp_path / way).write_bytes(damaged)
        try:
            importer._emotions(importing.read(tmp_path / way), DEPTH, WIDTH)
        except EmosteerError:
            continue


# The command line.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("importing")
    tiny_model().save_pretrained(root)
    tiny_tokenizer().save_pretrained(root)
    return root


def test_the_command(command_line, folder, model, tmp_path):
    file = write_gguf(tmp_path / "Vector 1.gguf", made())
    arguments = ["import", file, "--model", folder, "--output", tmp_path / "out", "--coefficient", "0.5"]
    status, _, err = command_line(*arguments)
    assert status == 1
    assert "'Vector 1' is not a name" in err
    assert not (tmp_path / "out").exists()
    status, out, err = command_line(*arguments, "-e", "joy", "--layers", "2-3")
    assert (status, err) == (0, "")
    assert "as the producer's coefficient (0.5)" in " ".join(out.split())
    vectors = emosteer.EmotionVectors.from_pretrained(tmp_path / "out")
    expected = by_hand(model, made((2, 3), seed=0), 0.5)
    kept = {i: v for i, v in made().items() if i > 1}
    assert not torch.allclose(steered(model, vectors), expected)  # those are other numbers
    torch.testing.assert_close(steered(model, vectors), by_hand(model, kept, 0.5), rtol=1e-5, atol=1e-5)
    status, out, _ = command_line(*arguments, "-e", "joy", "--json")
    told = json.loads(out)
    assert told["extraction"]["sources"]["joy"]["coefficient"] == 0.5
    assert told["emotions"][0]["dose"]["layers"] == [1, 2, 3]


def test_a_hostile_file_on_the_command_line(command_line, folder, tmp_path, hostile):
    hostile["eval"](tmp_path / "evil.pt")
    status, out, err = command_line("import", tmp_path / "evil.pt", "--model", folder, "--output", tmp_path / "out")
    assert (status, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "out").exists()


# The producers themselves, and a real model.


def peer(name):
    return pytest.importorskip(name, reason="the peers are laid over the environment by `make test-peers`")


def block_outputs(model, ids=IDS):
    """The blocks' outputs as the next block gets them, whatever has been wrapped around or hooked to them."""
    seen = {}
    after = [*list(model.model.layers)[1:], model.model.norm]
    handles = [
        module.register_forward_pre_hook(lambda _m, args, kwargs, i=i: seen.update({i: args[0]}), with_kwargs=True)
        for i, module in enumerate(after)
    ]
    with torch.no_grad():
        logits = model(ids).logits
    for handle in handles:
        handle.remove()
    return seen, logits


def first_is_all_that_differs(theirs, ours, plain, vectors, coefficient):
    """At the first steered block: they add the same at every token, we at every token but the first."""
    layer = min(vectors)
    added = coefficient * vectors[layer].expand(IDS.shape[1], -1)
    torch.testing.assert_close((theirs[layer] - plain[layer])[0], added, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((ours[layer] - plain[layer])[0, 1:], added[1:], rtol=1e-4, atol=1e-5)
    assert torch.equal(ours[layer][0, 0], plain[layer][0, 0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_repeng_itself(tokenizer, tmp_path):
    repeng = peer("repeng")
    model, written, coefficient = tiny_model(), made(), 1.5
    control = repeng.ControlVector("llama", {i: v.numpy() for i, v in written.items()})
    control.export_gguf(tmp_path / "joy.gguf")
    vectors = importing.load(tmp_path / "joy.gguf", model, tokenizer, coefficient=coefficient)
    plain, _ = block_outputs(model)
    with emosteer.steer(model, vectors, {"joy": 1.0}):
        ours, our_logits = block_outputs(model)
    controlled = repeng.ControlModel(model, list(written))
    controlled.set_control(control, coefficient)
    theirs, _ = block_outputs(model)
    first_is_all_that_differs(theirs, ours, plain, written, coefficient)
    beyond = (torch.arange(IDS.shape[1]) > 0).float().reshape(1, -1, 1)
    controlled.set_control(control, coefficient, operator=lambda current, added: current + beyond * added)
    torch.testing.assert_close(our_logits, block_outputs(model)[1], rtol=1e-5, atol=1e-5)
    controlled.unwrap()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
def test_steering_vectors_itself(tokenizer, tmp_path):
    library = peer("steering_vectors")
    model, written, coefficient = tiny_model(), made(), 1.5
    vector = library.SteeringVector(written)
    torch.save(vector, tmp_path / "joy.pt")
    vectors = importing.load(tmp_path / "joy.pt", model, tokenizer, coefficient=coefficient)
    assert vectors.extraction["sources"]["joy"]["producer"] == "steering-vectors"
    plain, _ = block_outputs(model)
    with emosteer.steer(model, vectors, {"joy": 1.0}):
        ours, our_logits = block_outputs(model)
    with vector.apply(model, multiplier=coefficient):
        theirs, _ = block_outputs(model)
    first_is_all_that_differs(theirs, ours, plain, written, coefficient)
    with vector.apply(model, multiplier=coefficient, min_token_index=1):
        torch.testing.assert_close(our_logits, block_outputs(model)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.embedded
def test_on_the_embedded_model(embedded, tmp_path):
    model, tokenizer = embedded
    generator = torch.Generator().manual_seed(0)
    written = {i: torch.randn(576, generator=generator) for i in (2, 3, 5)}
    vectors = importing.load(write_gguf(tmp_path / "joy.gguf", written), model, tokenizer, coefficient=0.5)
    ids = tokenizer("The morning was quiet and the bus was late.", return_tensors="pt").input_ids
    expected = by_hand(model, written, 0.5, ids)
    torch.testing.assert_close(steered(model, vectors, ids=ids), expected, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        assert (model(ids).logits - expected).abs().max() > 0.1
