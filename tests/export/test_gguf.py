"""Control vectors, read back by a reader of the GGUF format that is written here, after its specification."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

import emosteer
from emosteer.errors import InputError, MissingExtraError, ToneError
from emosteer.export import write_gguf
from emosteer.vectors.types import Dose
from tests.oracle import deltas

TEXT, INT32, FLOAT32 = 8, 5, 0


def read(path) -> tuple[dict, dict[str, np.ndarray]]:
    """Keys and tensors of a GGUF file, version 3, little-endian."""
    data, at = path.read_bytes(), 0

    def take(kind: str):
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(f"<{kind}")
        return value

    def text() -> str:
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode()

    assert (data[:4], struct.unpack_from("<I", data, 4)) == (b"GGUF", (3,))
    at = 8
    n_tensors, n_keys = take("Q"), take("Q")
    keys, infos = {}, []
    for _ in range(n_keys):
        name, kind = text(), take("I")
        keys[name] = {TEXT: text, INT32: lambda: take("i")}[kind]()
    for _ in range(n_tensors):
        name, n_dims = text(), take("I")
        assert n_dims == 1
        length, kind, offset = take("Q"), take("I"), take("Q")
        assert kind == FLOAT32
        infos.append((name, length, offset))
    start = -(-at // 32) * 32
    tensors = {name: np.frombuffer(data, "<f4", n, start + offset) for name, n, offset in infos}
    return keys, tensors


@pytest.fixture
def spread(vectors):
    """Doses at layers 1 to 3; that of fear at the last one too, with another weight."""
    doses = {"joy": Dose(0.5, (1, 2), (0.5, 0.5)), "fear": Dose(0.25, (1, 3), (1.0, 0.5))}
    return replace(vectors, doses=doses)


def test_a_mix_is_the_sum_of_what_steering_adds(spread, tmp_path):
    tone = {"joy": 1.5, "fear": -0.5}
    assert write_gguf(spread, tone, tmp_path / "mix.gguf") == (1, 2, 3)
    keys, tensors = read(tmp_path / "mix.gguf")
    assert keys["general.architecture"] == "controlvector"
    assert keys["controlvector.model_hint"] == "llama"
    assert keys["controlvector.layer_count"] == 3
    expected = deltas(spread, tone)
    assert tensors.keys() == {f"direction.{layer}" for layer in expected} == {f"direction.{n}" for n in (1, 2, 3)}
    for layer, delta in expected.items():
        torch.testing.assert_close(torch.tensor(tensors[f"direction.{layer}"]), delta.float(), atol=1e-6, rtol=1e-5)


def test_the_file_says_what_it_holds(spread, tmp_path):
    write_gguf(spread, {"joy": 1}, tmp_path / "joy.gguf", layers=[2])
    about = json.loads(read(tmp_path / "joy.gguf")[0]["emosteer"])
    assert (about["tone"], about["layers"]) == ({"joy": 1.0}, [2])
    assert about["base_model"] is None


def test_the_same_tone_gives_the_same_bytes(spread, tmp_path):
    for name in ("a", "b"):
        write_gguf(spread, {"joy": 0.8, "fear": 0.1}, tmp_path / "new" / name)
    assert (tmp_path / "new" / "a").read_bytes() == (tmp_path / "new" / "b").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]


def test_a_point_of_valence_and_arousal_is_the_mix_that_it_stands_for(model, tmp_path):
    from emosteer.steering.affect import mix
    from emosteer.vectors.types import EmotionInfo

    points = {"joy": (0.8, 0.5), "fear": (-0.7, 0.6), "calm": (0.5, -0.7), "gloom": (-0.6, -0.4)}
    vectors = emosteer.EmotionVectors.random(model, list(points))
    vectors = replace(vectors, info={name: EmotionInfo({}, *point) for name, point in points.items()})
    point = emosteer.Affect(0.5, -0.5)
    write_gguf(vectors, point, tmp_path / "point")
    write_gguf(vectors, mix(vectors, point), tmp_path / "named")
    assert (tmp_path / "point").read_bytes() == (tmp_path / "named").read_bytes()


def test_layer_0_is_refused_by_name(vectors, tmp_path):
    low = replace(vectors, doses={"joy": Dose(0.5, (0, 2), (0.5, 0.5))})
    with pytest.raises(ToneError, match=r"layers 0, 2, and a control vector of llama\.cpp begins at 1"):
        write_gguf(low, {"joy": 1.0}, tmp_path / "x")
    silent = replace(vectors, doses={"joy": Dose(0.5, (0, 2), (0.0, 0.5))})
    assert write_gguf(silent, {"joy": 1.0}, tmp_path / "y") == (2,)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("tone", "why"),
    [
        ({}, "tone is empty"),
        ({"joy": 0.0}, "tone is empty"),
        ({"bliss": 1.0}, "bliss"),
        ({"joy": 11.0}, "beyond"),
        ([{"joy": 1.0}, None], "each row cannot be put"),
        (emosteer.Keyframes({0: {"joy": 1.0}, 9: {"joy": 0.0}}), "changes along the answer"),
    ],
)
def test_what_a_control_vector_cannot_say_is_refused(tone, why, vectors, tmp_path):
    with pytest.raises(ToneError, match=why):
        write_gguf(vectors, tone, tmp_path / "x")
    assert not any(tmp_path.iterdir())


def test_a_dose_for_some_tokens_only_is_refused(vectors, tmp_path):
    some = replace(vectors, doses={"joy": Dose(0.5, (1,), (1.0,), "generated")})
    with pytest.raises(ToneError, match="generated tokens only cannot be put"):
        write_gguf(some, {"joy": 1.0}, tmp_path / "x")


def test_a_place_that_cannot_be_written_is_one_clear_error(vectors, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x", tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            write_gguf(vectors, {"joy": 1.0}, place)


def test_without_the_package_it_names_the_extra(vectors, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(MissingExtraError, match=r"emosteer\[gguf\]"):
        write_gguf(vectors, {"joy": 1.0}, tmp_path / "x")
