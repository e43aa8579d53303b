"""What is on disk: written whole and the same each time, read lazily and with suspicion.

Files, good and bad, come from `tests/golden/make_v1.py`, which knows the format and nothing of the library; what the
library writes is read back by `struct`, `json` and `safetensors`.
"""

from __future__ import annotations

import copy
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from emosteer import EmosteerWarning, EmotionVectors
from emosteer._util import atomic, strict_json
from emosteer._util.names import is_repo_id
from emosteer.errors import FormatError, HubError, InputError, ToneError
from emosteer.models.fingerprint import BaseModel
from emosteer.vectors import config as config_module
from emosteer.vectors import format as fmt
from emosteer.vectors.config import Config
from emosteer.vectors.types import AXES, Dose, EmotionInfo, Readout
from tests.golden import make_v1
from tests.golden.make_v1 import (
    GOLDEN_CONFIG,
    GOLDEN_TENSORS,
    build,
    canonical,
    digested,
    entries,
    file_bytes,
    in_order,
    sealed,
    tensor,
)
from tests.vectors import fuzz_format

GOLDEN = Path(__file__).parents[1] / "golden" / "v1"
GOOD = digested(GOLDEN_CONFIG, GOLDEN_TENSORS)
DATA = b"".join(data for _, (_, _, data) in in_order(GOLDEN_TENSORS))
METADATA = {"__metadata__": {"emosteer": canonical(GOOD)}}
MISSING = "missing"  # a text, so that every process that collects the tests calls them alike
FILES = ("vectors.safetensors", "config.json", "README.md")


# Means


def changed(config: dict, path: tuple, value: object) -> dict:
    """The config with one value changed, or removed, and not sealed again."""
    config = copy.deepcopy(config)
    inside = config
    for key in path[:-1]:
        inside = inside[key]
    if value is MISSING:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return config


def with_tensors(**tensors: object) -> tuple[dict, dict]:
    """The golden tensors with some exchanged (None: left out), and the config that has their digests."""
    merged = {**GOLDEN_TENSORS, **tensors}
    kept = {name: value for name, value in merged.items() if value is not None}
    return kept, digested(GOLDEN_CONFIG, kept)


def load(tmp_path: Path, content: bytes, **options) -> EmotionVectors:
    file = tmp_path / "crafted.safetensors"
    file.write_bytes(content)
    return EmotionVectors.from_pretrained(file, **options)


def one_clear_line(error: Exception) -> str:
    message = str(error)
    assert message.isprintable(), ascii(message)
    assert 10 < len(message) < 700
    return message


def refused(tmp_path: Path, content: bytes, *words: str) -> str:
    """The file ends in FormatError, whose message is one clear line with these words in it."""
    with pytest.raises(FormatError) as caught:
        load(tmp_path, content)
    message = one_clear_line(caught.value)
    for word in words:
        assert word in message
    return message


def read_header(data: bytes) -> tuple[dict, bytes]:
    """Header and data of a file, read without the library."""
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def assert_same(a: EmotionVectors, b: EmotionVectors) -> None:
    assert not fuzz_format.differences(a, b)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def golden() -> EmotionVectors:
    return EmotionVectors.from_pretrained(GOLDEN)


@pytest.fixture
def full(vectors) -> EmotionVectors:
    """Vectors of the tiny model with every optional part."""
    generator = torch.Generator().manual_seed(2)
    rows, width = len(vectors.layers), vectors.hidden_size
    basis = torch.linalg.qr(torch.randn(rows, width, 2, generator=generator)).Q.transpose(1, 2).contiguous()
    return replace(
        vectors,
        info={
            "joy": EmotionInfo({"en": "joy", "zh": "喜悦"}, 0.9, 0.1 + 0.2, "Ratings"),
            "fear": EmotionInfo({}, -1.0, 1.0),
        },
        doses={"fear": Dose(0.3, (1, 3), (2 / 3, -1 / 3), "prompt", 0.25, -0.01, 0.875, "budget")},
        extraction={"method": "pca", "stability": {"joy": 1 / 3}, "counts": {"emotional": 9, "neutral": 5}},
        measured={"alignment": {"n": 28, "rsa": 0.51, "nested": [1, [2.5, None, True]]}},
        license="Apache-2.0",
        center=torch.randn(rows, width, generator=generator) * 1000,
        neutral_basis=basis,
        readout=Readout(
            vectors.emotions,
            AXES,
            {layer: torch.randn(width, 5, generator=generator) for layer in (1, 2)},
            *torch.randn(3, 5, generator=generator),
        ),
    )


# Round trip


def test_float32_vectors_come_back_bit_for_bit(full, tmp_path):
    full.save_pretrained(tmp_path / "v")
    back = EmotionVectors.from_pretrained(tmp_path / "v")
    assert back.emotions == ("joy", "fear", "calm")
    assert_same(back, full)


def test_float16_directions_come_back_as_the_nearest_halves_and_the_norms_exactly(full, tmp_path):
    full.save_pretrained(tmp_path / "v", dtype="float16")
    back = EmotionVectors.from_pretrained(tmp_path / "v")
    for name in full.emotions:
        assert back.directions[name].dtype == torch.float32
        assert torch.equal(back.directions[name], full.directions[name].half().float())
    assert torch.equal(back.neutral_basis, full.neutral_basis.half().float())
    assert torch.equal(back.residual_norm, full.residual_norm)
    assert torch.equal(back.center, full.center)
    assert (back.doses, back.info, back.measured) == (full.doses, full.info, full.measured)


def test_float16_halves_the_directions_on_disk(full, tmp_path):
    for dtype, size in (("float32", 4), ("float16", 2)):
        full.save_pretrained(tmp_path / dtype, dtype=dtype)
        header, _ = read_header((tmp_path / dtype / "vectors.safetensors").read_bytes())
        begin, end = header["direction.joy"]["data_offsets"]
        assert end - begin == 4 * 32 * size


def test_another_dtype_is_refused_before_anything_is_written(full, tmp_path):
    with pytest.raises(InputError, match="bfloat16") as caught:
        full.save_pretrained(tmp_path / "v", dtype="bfloat16")
    one_clear_line(caught.value)
    assert not list(tmp_path.iterdir())


def test_vectors_without_any_optional_part_come_back(vectors, tmp_path):
    vectors.save_pretrained(tmp_path)
    back = EmotionVectors.from_pretrained(tmp_path)
    assert (back.center, back.neutral_basis, back.doses, back.license) == (None, None, {}, None)
    assert_same(back, vectors)


def test_a_divergence_comes_back_and_an_earlier_version_leaves_it_out(vectors, tmp_path, monkeypatch):
    plain, quick = Dose(0.3, (1,), (1.0,)), Dose(0.2, (1, 2), (0.5, 0.5), divergence=0.4)
    replace(vectors, doses={"joy": quick, "fear": plain}).save_pretrained(tmp_path)
    doses = json.loads((tmp_path / "config.json").read_text())["doses"]
    assert doses["joy"]["divergence"] == 0.4
    assert "divergence" not in doses["fear"]
    assert EmotionVectors.from_pretrained(tmp_path).doses == {"joy": quick, "fear": plain}
    monkeypatch.setattr(config_module, "_DOSE", config_module._DOSE - {"divergence"})
    with pytest.warns(EmosteerWarning, match=r"does not know \(doses\.divergence\)"):
        assert EmotionVectors.from_pretrained(tmp_path).dose("joy") == replace(quick, divergence=None)


@pytest.mark.parametrize("value", [-0.1, "0.4", True, 1e9])
def test_a_divergence_that_is_none_is_refused(value):
    doses = {name: {**dose, "divergence": value} for name, dose in GOLDEN_CONFIG["doses"].items()}
    with pytest.raises(FormatError, match="divergence"):
        Config.from_dict(sealed({**GOOD, "doses": doses}))


def test_rows_a_little_off_unit_length_are_saved_as_unit_rows(vectors, tmp_path):
    replace(vectors, directions={name: rows * 1.003 for name, rows in vectors.directions.items()}).save_pretrained(
        tmp_path
    )
    for name, rows in EmotionVectors.from_pretrained(tmp_path).directions.items():
        torch.testing.assert_close(rows, vectors.directions[name])


def test_config_to_dict_and_back_is_the_same_config():
    config = Config.from_dict(GOOD)
    assert config.to_dict() == GOOD
    assert Config.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("name", ["a/b", "gpt2", "org/model.v1-x_2"])
def test_names_of_repositories(name):
    assert is_repo_id(name)


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "/a", "a/", "a b", "a/../b", "ü/b", "x" * 97, "a\n"])
def test_what_is_no_name_of_a_repository(name):
    assert not is_repo_id(name)


# The bytes, looked at without the library


@pytest.fixture
def saved(full, tmp_path) -> bytes:
    full.save_pretrained(tmp_path / "seen")
    return (tmp_path / "seen" / "vectors.safetensors").read_bytes()


def test_the_header_has_one_metadata_key_with_canonical_json(saved):
    header, _ = read_header(saved)
    assert list(header["__metadata__"]) == ["emosteer"]
    text = header["__metadata__"]["emosteer"]
    assert text == canonical(json.loads(text))
    assert text.isascii()


def test_the_tensors_fill_the_file_without_a_gap(saved):
    header, data = read_header(saved)
    del header["__metadata__"]
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert [begin for begin, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == len(data)
    assert set(header) == {
        *("direction.joy", "direction.fear", "direction.calm"),
        *("residual_norm", "center", "neutral_basis"),
        *("readout.weights.1", "readout.weights.2", "readout.bias", "readout.spread", "readout.inertia"),
    }
    assert header["residual_norm"]["dtype"] == "F32"


def test_every_digest_is_the_sha256_of_the_bytes(saved):
    header, data = read_header(saved)
    digests = json.loads(header.pop("__metadata__")["emosteer"])["digests"]
    found = {name: hashlib.sha256(data[slice(*entry["data_offsets"])]).hexdigest() for name, entry in header.items()}
    assert digests == found


def test_the_config_is_sealed_with_the_sha256_of_its_other_fields(saved):
    config = json.loads(read_header(saved)[0]["__metadata__"]["emosteer"])
    assert config == sealed(config)


def test_the_config_has_the_fields_of_the_format(saved):
    config = json.loads(read_header(saved)[0]["__metadata__"]["emosteer"])
    assert set(config) == {
        *("format_version", "emosteer_version", "digests", "critical", "base_model", "layers", "site", "emotions"),
        *("extraction", "doses", "measured", "license", "config_digest"),
    }
    assert (config["format_version"], config["site"], config["critical"]) == (1, "block_output", [])
    assert [entry["name"] for entry in config["emotions"]] == ["joy", "fear", "calm"]


def test_config_json_is_the_same_object(full, tmp_path):
    full.save_pretrained(tmp_path)
    header, _ = read_header((tmp_path / "vectors.safetensors").read_bytes())
    beside = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert beside == json.loads(header["__metadata__"]["emosteer"])


def test_the_safetensors_library_reads_the_same_numbers(full, saved):
    tensors = safetensors.torch.load(saved)
    for name in full.emotions:
        assert torch.equal(tensors[f"direction.{name}"], full.directions[name])
    assert torch.equal(tensors["residual_norm"], full.residual_norm)
    assert torch.equal(tensors["center"], full.center)
    assert torch.equal(tensors["neutral_basis"], full.neutral_basis)


def test_a_folder_holds_the_three_files_and_nothing_else(full, tmp_path):
    full.save_pretrained(tmp_path / "v")
    assert sorted(contents(tmp_path / "v")) == sorted(FILES)


# The same bytes again


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_saving_twice_gives_the_same_bytes(full, tmp_path, dtype):
    for name in ("a", "another/place"):
        full.save_pretrained(tmp_path / name, dtype=dtype)
    assert contents(tmp_path / "a") == contents(tmp_path / "another" / "place")


def test_the_order_in_which_parts_were_put_together_does_not_show(full, tmp_path):
    def turned(mapping):
        return dict(reversed(mapping.items()))

    other = replace(
        full,
        info=turned(full.info),
        extraction=turned({key: turned(v) if isinstance(v, dict) else v for key, v in full.extraction.items()}),
    )
    full.save_pretrained(tmp_path / "a")
    other.save_pretrained(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_what_is_loaded_and_saved_again_has_the_same_bytes(full, tmp_path):
    full.save_pretrained(tmp_path / "a")
    EmotionVectors.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_equal_vectors_have_the_same_bytes_be_their_numbers_whole_or_not(full, tmp_path):
    for folder, one in (("whole", 1), ("float", 1.0)):
        info, doses = {"joy": EmotionInfo({}, -one, one)}, {"joy": Dose(one, (1,), (one,), budget=one)}
        replace(full, info=info, doses=doses).save_pretrained(tmp_path / folder)
    assert contents(tmp_path / "whole") == contents(tmp_path / "float")


def test_two_fresh_processes_write_the_same_bytes(tmp_path):
    script = (
        "import sys; from pathlib import Path; from tests.vectors.fuzz_format import make_good;"
        "make_good(Path(sys.argv[1]), emotions=5, layers=3, width=16)"
    )
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            cwd=root,
        )
        for seed in ("1", "2")
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


# The golden file: it loads for ever


GOLDEN_SHA256 = {
    "vectors.safetensors": "0ffbd89a37fb37a79249d56e629a256b55d26966220ed42e26e30fabbd517a4b",
    "config.json": "fa0c9d120555f3e912072386c4893ef4140bbeac829339f144604df1b1ff87e5",
    "README.md": "a2cb39fa30c4a6483ded6fa6ed83c70759fc972cbe418fa007f5855d8edd141d",
}


@pytest.mark.parametrize("name", FILES)
def test_the_golden_file_was_never_changed(name):
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == GOLDEN_SHA256[name]


def test_the_golden_file_is_what_its_generator_makes():
    assert contents(GOLDEN) == make_v1.golden()


@pytest.mark.parametrize("source", [GOLDEN, GOLDEN / "vectors.safetensors", str(GOLDEN)], ids=["folder", "file", "str"])
def test_every_value_of_the_golden_file(source):
    golden = EmotionVectors.from_pretrained(source)
    third = 0.57735026  # 1/√3 as float32 has it
    expected = {
        "quiet-fear": [[0.0, 0.0, 0.0, -1.0], [third, third, 0.0, -third]],
        "joy": [[0.6, 0.8, 0.0, 0.0], [0.5, -0.5, 0.5, -0.5]],
    }
    assert golden.emotions == ("quiet-fear", "joy")
    for name, rows in expected.items():
        assert torch.equal(golden.directions[name], torch.tensor(rows))
    assert torch.equal(golden.residual_norm, torch.tensor([12.25, 310.5]))
    assert torch.equal(golden.center, torch.tensor([[1.5, -2.25, 0.0, 1024.0], [-0.125, 3.0, 65536.0, 1e-3]]))
    assert torch.equal(golden.neutral_basis, torch.tensor([[[0.0, 0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]]))
    assert golden.layers == (2, 4)
    assert golden.base_model == BaseModel(
        model_type="llama",
        num_hidden_layers=6,
        hidden_size=4,
        repo_id="someone/tiny-model",
        revision="0123456789abcdef0123456789abcdef01234567",
        weights_variant="Q4_1 dequantised",
        fingerprint="5e" * 32,
    )
    assert golden.info == {
        "quiet-fear": EmotionInfo({"en": "quiet fear", "zh": "恐惧"}, -0.75, 0.5, "Ratings of 2019, scaled"),
        "joy": EmotionInfo({"en": "joy"}, None, None, None),
    }
    assert golden.doses == {"joy": Dose(0.375, (4,), (0.5,), "generated", 0.25, 0.1875, 0.9, "budget spent")}
    assert golden.extraction == {
        "method": "mean_difference",
        "pooling": "mean",
        "concepts": "small",
        "languages": ["en"],
        "concepts_digest": "c0" * 32,
        "counts": {"emotional": 24, "neutral": 48},
        "seed": 0,
        "stability": {"joy": 0.875, "quiet-fear": 0.5},
    }
    assert golden.measured == {"alignment": {"rsa": 0.5, "n": 28}}
    assert golden.license == "Apache-2.0"


def test_the_golden_file_steers_as_it_says(golden):
    (layer, delta), *others = golden.deltas("joy").items()
    assert (layer, others) == (4, [])
    torch.testing.assert_close(delta, 0.375 * 0.5 * 310.5 * torch.tensor([0.5, -0.5, 0.5, -0.5]))


def test_the_library_writes_what_the_golden_file_holds(golden, tmp_path):
    """The writer against the other writer: only the version that wrote may differ."""
    golden.save_pretrained(tmp_path)
    ours, theirs = (read_header((folder / "vectors.safetensors").read_bytes()) for folder in (tmp_path, GOLDEN))
    configs = [json.loads(header.pop("__metadata__")["emosteer"]) for header, _ in (ours, theirs)]
    for config in configs:
        del config["emosteer_version"], config["config_digest"]
    assert configs[0] == configs[1]
    assert ours == theirs


# Lazy reading


class CountingFile(io.FileIO):
    """A file that knows which of its bytes were read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.spans: list[tuple[int, int]] = []

    def readinto(self, buffer) -> int:
        at, count = self.tell(), super().readinto(buffer)
        self.spans.append((at, at + count))
        return count

    def readall(self) -> bytes:
        at, data = self.tell(), super().readall()
        self.spans.append((at, at + len(data)))
        return data


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A file with twelve emotions of 64 KiB each, and how often a byte in a range of it was read."""
    width = 4096
    generator = torch.Generator().manual_seed(0)
    EmotionVectors(
        {
            f"e{i:02}": torch.nn.functional.normalize(torch.randn(4, width, generator=generator), dim=-1)
            for i in range(12)
        },
        torch.ones(4),
        (0, 1, 2, 3),
        BaseModel("llama", 4, width),
    ).save_pretrained(tmp_path / "v")
    file = tmp_path / "v" / "vectors.safetensors"
    opened: list[CountingFile] = []
    original = Path.open

    def counting(self, *args, **options):
        if self != file:
            return original(self, *args, **options)
        opened.append(CountingFile(self))
        return io.BufferedReader(opened[-1])

    monkeypatch.setattr(Path, "open", counting)
    content = file.read_bytes()
    header, data = read_header(content)
    opened.clear()

    def read_of(name: str) -> int:
        assert opened, "the file was opened another way than through Path.open: count there"
        begin, end = (len(content) - len(data) + offset for offset in header[name]["data_offsets"])
        return sum(max(0, min(end, b) - max(begin, a)) for one in opened for a, b in one.spans)

    return file, read_of


READ_AHEAD = 2 * io.DEFAULT_BUFFER_SIZE  # a buffered reader may take the bytes before and after with it


@pytest.mark.parametrize("asked", [["e05"], ["e11", "e00"]])
def test_only_the_bytes_of_the_emotions_asked_for_are_read(counted, asked):
    file, read_of = counted
    loaded = EmotionVectors.from_pretrained(file, emotions=asked)
    assert loaded.emotions == tuple(asked)
    for name in (f"e{i:02}" for i in range(12)):
        if name in asked:
            assert read_of(f"direction.{name}") >= 65_536
        else:
            assert read_of(f"direction.{name}") <= READ_AHEAD


def test_opening_a_file_reads_no_tensor(counted):
    file, read_of = counted
    with fmt.VectorFile.open(file) as opened:
        assert len(opened.config.emotions) == 12
    assert all(read_of(f"direction.e{i:02}") <= READ_AHEAD for i in range(12))


def corrupted(name: str) -> bytes:
    """The golden file with one bit flipped in a tensor."""
    content = bytearray(build(GOLDEN_TENSORS, GOOD))
    at = len(content) - len(DATA) + entries(GOLDEN_TENSORS)[name]["data_offsets"][0]
    content[at + 1] ^= 1
    return bytes(content)


def test_a_damaged_tensor_that_was_not_asked_for_does_not_matter(golden, tmp_path):
    loaded = load(tmp_path, corrupted("direction.quiet-fear"), emotions=["joy"])
    assert torch.equal(loaded.directions["joy"], golden.directions["joy"])


@pytest.mark.parametrize("name", sorted(GOLDEN_TENSORS))
def test_one_flipped_bit_in_a_tensor_that_is_read_is_an_error(tmp_path, name):
    refused(tmp_path, corrupted(name), name, "not those that were written")


def test_emotions_asked_for_come_in_the_order_asked_with_their_doses_only(golden):
    assert EmotionVectors.from_pretrained(GOLDEN, emotions=["joy", "quiet-fear"]).emotions == ("joy", "quiet-fear")
    one = EmotionVectors.from_pretrained(GOLDEN, emotions=["quiet-fear"])
    assert (one.emotions, one.doses) == (("quiet-fear",), {})
    assert one.info == {"quiet-fear": golden.info["quiet-fear"]}


def test_an_emotion_that_is_not_in_the_file_is_named_with_those_that_are():
    with pytest.raises(ToneError) as caught:
        EmotionVectors.from_pretrained(GOLDEN, emotions=["joy", "envy"])
    message = one_clear_line(caught.value)
    assert all(word in message for word in ("'envy'", "joy", "quiet-fear"))


# A folder and its config.json


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the golden folder."""
    for name, content in make_v1.golden().items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def refused_folder(folder: Path, *words: str) -> None:
    with pytest.raises(FormatError) as caught:
        EmotionVectors.from_pretrained(folder)
    message = one_clear_line(caught.value)
    assert all(word in message for word in words)


def test_a_config_json_that_differs_is_an_error(folder):
    config = changed(GOOD, ("emotions", 1, "valence"), 0.25)
    (folder / "config.json").write_text(json.dumps(sealed(config)))
    refused_folder(folder, "config.json", "differ")


def test_a_missing_config_json_is_an_error_that_says_what_to_do(folder):
    (folder / "config.json").unlink()
    refused_folder(folder, "config.json", "vectors.safetensors can be loaded on its own")


def test_a_config_json_in_other_words_but_of_the_same_content_is_fine(folder, golden):
    (folder / "config.json").write_text(json.dumps(dict(reversed(GOOD.items())), indent=7))
    assert_same(EmotionVectors.from_pretrained(folder), golden)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"<html>", b'{"a": 1, "a": 1}', b'{"a": NaN}', b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "not-utf8", "html", "key-twice", "nan", "deep"],
)
def test_a_config_json_that_is_no_config_is_an_error(folder, content):
    (folder / "config.json").write_bytes(content)
    refused_folder(folder, "config.json")


def test_a_config_json_that_is_a_folder_is_an_error(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    refused_folder(folder)


def test_the_single_file_does_not_look_at_config_json(folder, golden):
    (folder / "config.json").write_text("{}")
    assert_same(EmotionVectors.from_pretrained(folder / "vectors.safetensors"), golden)


# Versions


UNKNOWN = {
    "the top": ("invented",),
    "base_model": ("base_model", "invented"),
    "an emotion": ("emotions", 0, "invented"),
    "a dose": ("doses", "joy", "invented"),
}


@pytest.mark.parametrize("path", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("seal", [lambda config: config, sealed], ids=["added-by-hand", "written-by-a-later-emosteer"])
def test_an_unknown_field_warns_and_the_rest_loads(golden, tmp_path, path, seal):
    """A later emosteer seals what it writes, with the fields that only it knows."""
    config = seal(changed(GOOD, path, {"anything": [1, None]}))
    with pytest.warns(EmosteerWarning, match=r"invented.*pip install -U emosteer"):
        loaded = load(tmp_path, build(GOLDEN_TENSORS, config))
    assert_same(loaded, golden)


def test_new_fields_among_the_results_need_no_warning(tmp_path):
    config = changed(GOOD, ("measured", "invented"), {"n": 5, "curve": [0.5, None]})
    loaded = load(tmp_path, build(GOLDEN_TENSORS, sealed(config)))
    assert loaded.measured["invented"] == {"n": 5, "curve": [0.5, None]}


@pytest.mark.parametrize(
    ("path", "name"),
    [(("gain",), "gain"), (("base_model", "gain"), "base_model.gain"), (("doses", "joy", "gain"), "doses.gain")],
)
def test_an_unknown_field_that_is_critical_is_an_error_that_names_it(tmp_path, path, name):
    config = changed(changed(GOOD, path, 2.0), ("critical",), [name])
    config = sealed({**config, "emosteer_version": "3.1"})
    refused(tmp_path, build(GOLDEN_TENSORS, config), name, "pip install 'emosteer>=3.1'")


def test_a_critical_field_need_not_be_there_to_be_an_error(tmp_path):
    refused(tmp_path, build(GOLDEN_TENSORS, changed(GOOD, ("critical",), ["gain"])), "'gain'")


def test_a_critical_field_that_is_known_is_fine(golden, tmp_path):
    config = sealed({**GOOD, "critical": ["site", "doses.scope", "base_model.fingerprint"]})
    assert_same(load(tmp_path, build(GOLDEN_TENSORS, config)), golden)


@pytest.mark.parametrize(
    ("wrote", "install"),
    [
        ("2.4.1", "pip install 'emosteer>=2.4.1'"),
        ("2", "pip install 'emosteer>=2'"),
        ("1'; rm -rf /; '", "pip install -U emosteer"),
        (None, "pip install -U emosteer"),
        (["2.4"], "pip install -U emosteer"),
        ("2.0" * 2_000, "pip install -U emosteer"),
    ],
)
def test_a_larger_format_version_names_the_version_to_install(tmp_path, wrote, install):
    config = sealed({**GOOD, "format_version": 2, "emosteer_version": wrote})
    refused(tmp_path, build(GOLDEN_TENSORS, config), "format version 2", install)


def test_a_larger_format_version_is_what_is_said_even_where_more_is_new(tmp_path):
    """Whatever else version 2 changes, a dtype for example: the reader is told to upgrade, not that the file is bad."""
    tensors = {**GOLDEN_TENSORS, "packed": ("U8", [8], bytes(8))}
    config = digested({**GOOD, "format_version": 2, "emosteer_version": "2.0"}, tensors)
    refused(tmp_path, build(tensors, config), "format version 2", "emosteer>=2.0")


@pytest.mark.parametrize("number", [0, -1, True, "1", 1.0, None, [], MISSING])
def test_a_format_version_that_is_none_is_an_error(tmp_path, number):
    config = changed(GOOD, ("format_version",), number)
    refused(tmp_path, build(GOLDEN_TENSORS, sealed(config)), "format_version")


@pytest.mark.parametrize(("path", "name"), [(("site",), "site"), (("doses", "joy", "scope"), "scope")])
def test_an_unknown_value_of_a_choice_names_the_version_to_install(tmp_path, path, name):
    config = sealed({**changed(GOOD, path, "attention_output"), "emosteer_version": "4.0.0"})
    refused(tmp_path, build(GOLDEN_TENSORS, config), name, "attention_output", "emosteer>=4.0.0")


def test_an_older_file_is_migrated_before_it_is_checked(golden, tmp_path, monkeypatch):
    """As it will be when there is a version 2: the golden file of version 1 loads, its seal being that of version 1."""
    monkeypatch.setattr(config_module, "FORMAT_VERSION", 2)
    monkeypatch.setitem(
        config_module.MIGRATIONS, 1, lambda data: {**data, "format_version": 2, "license": f"{data['license']} (old)"}
    )
    loaded = load(tmp_path, build(GOLDEN_TENSORS, GOOD))
    assert loaded.license == "Apache-2.0 (old)"
    assert_same(replace(loaded, license=golden.license), golden)


# The seal


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


@pytest.mark.parametrize("path", leaves(GOOD), ids=lambda path: ".".join(map(str, path)))
def test_no_value_of_the_config_can_be_changed_unnoticed(tmp_path, path):
    value = GOOD
    for key in path:
        value = value[key]
    if isinstance(value, str):
        other = value[:-1] + ("0" if value[-1] != "0" else "1")
    else:
        other = 0.125 if value is None else value + 1
    refused(tmp_path, build(GOLDEN_TENSORS, changed(GOOD, path, other)))


# Numbers


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["direction.joy", "residual_norm", "center", "neutral_basis"])
def test_a_number_that_is_not_finite_is_an_error(tmp_path, name, bad):
    dtype, shape, data = GOLDEN_TENSORS[name]
    data = struct.pack("<f", bad) + data[4:]
    refused(tmp_path, build(*with_tensors(**{name: (dtype, shape, data)})), name)


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [
        ([[0.0] * 4, [1.0, 0.0, 0.0, 0.0]], "F32"),
        ([[1.0, 0.0, 0.0, 0.0], [0.0] * 4], "F16"),
        ([[1.0, 0.0, 0.0, 0.0], [1.001, 0.0, 0.0, 0.0]], "F32"),
        ([[0.999, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], "F32"),
        ([[1.0, 0.0, 0.0, 0.0], [0.99, 0.0, 0.0, 0.0]], "F16"),
        ([[3e38, 3e38, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]], "F32"),
    ],
)
def test_a_row_that_is_not_of_unit_length_is_an_error(tmp_path, rows, dtype):
    refused(tmp_path, build(*with_tensors(**{"direction.joy": tensor(rows, dtype)})), "direction.joy", "unit length")


def test_rounding_of_unit_rows_is_no_error(tmp_path):
    third, row = 1 / math.sqrt(3), [0.5, 0.5, 0.5, 0.5]
    half = tensor([[third, third, third, 0.0], row], "F16")
    loaded = load(tmp_path, build(*with_tensors(**{"direction.joy": half})))
    torch.testing.assert_close(
        loaded.directions["joy"], torch.tensor([[third, third, third, 0.0], row]), atol=3e-4, rtol=0
    )
    load(tmp_path, build(*with_tensors(**{"direction.joy": tensor([[1.00001, 0.0, 0.0, 0.0], row])})))


@pytest.mark.parametrize("norm", [0.0, -0.0, -1.0])
def test_a_residual_norm_that_is_not_positive_is_an_error(tmp_path, norm):
    refused(tmp_path, build(*with_tensors(residual_norm=tensor([norm, 1.0]))), "residual norm", "positive")
    with (
        fmt.VectorFile.open(tmp_path / "crafted.safetensors") as opened,
        pytest.raises(FormatError, match="positive"),
    ):
        opened.read("residual_norm")


# Tensors


def test_bf16_is_refused_with_the_reason(tmp_path):
    content = build(*with_tensors(**{"direction.joy": ("BF16", [2, 4], bytes(16))}))
    refused(tmp_path, content, "BF16", "unit vector is off", "F32 or F16")


@pytest.mark.parametrize("dtype", ["F64", "I64", "I32", "U8", "F8_E4M3"])
def test_another_dtype_is_an_error_that_names_it(tmp_path, dtype):
    content = build(*with_tensors(center=(dtype, [2, 4], bytes(8 * make_v1.SIZES[dtype]))))
    refused(tmp_path, content, "center", dtype, "F32 or F16")


def test_half_residual_norms_are_an_error(tmp_path):
    refused(tmp_path, build(*with_tensors(residual_norm=tensor([1.0, 2.0], "F16"))), "residual_norm", "F32")


@pytest.mark.parametrize("dtype", [None, 5, ["F32"], {}, "", "f32", "F32 "])
def test_a_dtype_that_is_none_is_an_error(tmp_path, dtype):
    refused(tmp_path, with_entry("center", dtype=dtype), "center")


@pytest.mark.parametrize("name", ["direction.joy", "direction.quiet-fear", "residual_norm"])
def test_a_missing_tensor_is_an_error_that_names_it(tmp_path, name):
    refused(tmp_path, build(*with_tensors(**{name: None})), name, "missing")


@pytest.mark.parametrize("name", ["center", "neutral_basis"])
def test_the_center_and_the_basis_may_be_absent(tmp_path, name):
    assert getattr(load(tmp_path, build(*with_tensors(**{name: None}))), name) is None


@pytest.mark.parametrize(
    "name", ["direction.envy", "weights", "", "../x", "direction.", "x" * 5_000, "\x1b[31m", "\ud800"]
)
def test_a_foreign_tensor_is_an_error(tmp_path, name):
    refused(tmp_path, build(*with_tensors(**{name: tensor([[1.0, 0.0, 0.0, 0.0]] * 2)})))


@pytest.mark.parametrize("name", ["readout.joy", "affect.valence", "direction@mlp.joy"])
def test_tensors_with_reserved_names_are_left_alone(golden, tmp_path, name):
    """Of any shape, and not even read: later versions will know what they mean."""
    tensors, config = with_tensors(**{name: tensor([[[math.nan, 2.0, 3.0]]])})
    assert_same(load(tmp_path, build(tensors, config)), golden)


def readout_tensors(columns: int = 4) -> dict[str, object]:
    """Of the golden file's two emotions, valence and arousal, at its first layer."""
    parts = {f"readout.{part}": tensor([1.0] * columns) for part in ("bias", "spread", "inertia")}
    return {**parts, f"readout.weights.{GOOD['layers'][0]}": tensor([[0.5] * columns] * 4)}


@pytest.mark.parametrize("columns", [2, 4])
def test_a_readout_is_read(golden, tmp_path, columns):
    read = load(tmp_path, build(*with_tensors(**readout_tensors(columns)))).readout
    assert (read.emotions, read.axes) == (golden.emotions, ("valence", "arousal")[: columns - 2])
    assert {layer: one.tolist() for layer, one in read.weights.items()} == {GOOD["layers"][0]: [[0.5] * columns] * 4}


@pytest.mark.parametrize("name", readout_tensors())
def test_a_readout_that_is_not_complete_is_an_error(tmp_path, name):
    refused(tmp_path, build(*with_tensors(**{**readout_tensors(), name: None})), "readout", "complete")


@pytest.mark.parametrize("name", readout_tensors())
@pytest.mark.parametrize("values", [[1.0] * 3, [[1.0] * 4] * 3, [[1.0] * 5] * 4, [[[1.0]]]])
def test_a_readout_of_a_wrong_shape_is_an_error(tmp_path, name, values):
    refused(tmp_path, build(*with_tensors(**{**readout_tensors(), name: tensor(values)})), "readout.")


def test_a_readout_at_a_layer_that_is_not_there_is_left_alone(golden, tmp_path):
    data = build(*with_tensors(**{"readout.weights.99": tensor([[math.nan]])}))
    assert_same(load(tmp_path, data), golden)


@pytest.mark.parametrize("name", ["joy", "residual_norm", "readout.joy"])
def test_digests_and_tensors_must_name_the_same(tmp_path, name):
    for digests in ({**GOOD["digests"], name: "0" * 64}, {k: v for k, v in GOOD["digests"].items() if k != name}):
        if digests.keys() != GOOD["digests"].keys():
            refused(tmp_path, build(GOLDEN_TENSORS, sealed({**GOOD, "digests": digests})), name)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("direction.joy", [[1.0, 0.0, 0.0, 0.0]]),
        ("direction.joy", [[1.0, 0.0, 0.0, 0.0]] * 3),
        ("direction.joy", [[1.0, 0.0]] * 4),
        ("direction.joy", [1.0, 0.0, 0.0, 0.0] * 2),
        ("direction.joy", [[[1.0, 0.0, 0.0, 0.0]] * 2]),
        ("residual_norm", [1.0]),
        ("residual_norm", [[1.0, 1.0]]),
        ("center", [1.0, 0.0]),
        ("neutral_basis", [[1.0, 0.0, 0.0, 0.0]] * 2),
        ("neutral_basis", [[[1.0, 0.0, 0.0, 0.0]]]),
        ("neutral_basis", [[[1.0, 0.0]], [[1.0, 0.0]]]),
    ],
)
def test_a_wrong_shape_is_an_error_that_shows_both(tmp_path, name, values):
    wrong = tensor(values)
    refused(tmp_path, build(*with_tensors(**{name: wrong})), name, str(wrong[1]))


# The header


def with_entry(name: str, **fields: object) -> bytes:
    """The golden file with some fields of one header entry changed, or left out."""
    header = {**METADATA, **copy.deepcopy(entries(GOLDEN_TENSORS))}
    header[name].update(fields)
    header[name] = {key: value for key, value in header[name].items() if value is not MISSING}
    return file_bytes(header, DATA)


def test_the_crafted_files_are_good_ones_before_they_are_made_bad(golden, tmp_path):
    for content in (
        with_entry("center"),
        build(*with_tensors()),
        file_bytes({**METADATA, **entries(GOLDEN_TENSORS)}, DATA),
    ):
        assert_same(load(tmp_path, content), golden)


CENTER_AT = entries(GOLDEN_TENSORS)["center"]["data_offsets"]


@pytest.mark.parametrize(
    "offsets",
    [
        [CENTER_AT[0] + 32, CENTER_AT[1] + 32],  # over the next one, a gap before it
        [CENTER_AT[0] + 4, CENTER_AT[1] + 4],
        [len(DATA), len(DATA) + 32],
        [10**15, 10**15 + 32],
        [CENTER_AT[0], CENTER_AT[1] - 4],
        [CENTER_AT[0], CENTER_AT[1] + 4],
        [CENTER_AT[1], CENTER_AT[0]],
        [CENTER_AT[0] - 32, CENTER_AT[1] - 32],
        [2**64 + CENTER_AT[0], 2**64 + CENTER_AT[1]],
        [10**400, 10**400 + 32],
        [float(CENTER_AT[0]), float(CENTER_AT[1])],
        [str(CENTER_AT[0]), str(CENTER_AT[1])],
        [CENTER_AT[0]],
        [*CENTER_AT, CENTER_AT[1]],
        [None, None],
        [False, CENTER_AT[1]],
        {},
        None,
        MISSING,
    ],
    ids=repr,
)
def test_wrong_offsets_are_an_error(tmp_path, offsets):
    refused(tmp_path, with_entry("center", data_offsets=offsets))


@pytest.mark.parametrize(
    "shape",
    [
        *([2, 5], [2, 3], [8], [], [2, 4, 1, 1], [-2, -4], [2.0, 4.0], ["2", "4"], [True, 8], [None], [[2, 4]]),
        *([2**32, 2**32], [10**17, 10**17, 10**17], [10**400, 4], [0, 4], "24", 8, None, {}, MISSING),
    ],
    ids=repr,
)
def test_a_shape_that_does_not_fit_its_place_is_an_error(tmp_path, shape):
    refused(tmp_path, with_entry("center", shape=shape))


@pytest.mark.parametrize("entry", [None, [], {}, "x", 5, {"dtype": "F32", "shape": [2, 4]}], ids=repr)
def test_a_header_entry_that_is_no_tensor_is_an_error(tmp_path, entry):
    refused(tmp_path, file_bytes({**METADATA, **entries(GOLDEN_TENSORS), "center": entry}, DATA), "center")


def test_two_tensors_in_one_place_are_an_error(tmp_path):
    header = {**METADATA, **entries(GOLDEN_TENSORS)}
    joy, fear = header["direction.joy"], header["direction.quiet-fear"]
    refused(tmp_path, file_bytes({**header, "direction.quiet-fear": joy}, DATA), "overlaps")
    refused(tmp_path, file_bytes({**header, "direction.joy": fear}, DATA), "overlaps")


def test_a_border_between_two_tensors_that_has_moved_is_an_error(tmp_path):
    """Each byte still belongs to one tensor, and the digests are right."""
    header = entries(GOLDEN_TENSORS)
    first, second = sorted(header, key=lambda name: header[name]["data_offsets"])[:2]
    header[first]["data_offsets"][1] += 4
    header[second]["data_offsets"][0] += 4
    tensors = {name: ("F32", [], DATA[slice(*entry["data_offsets"])]) for name, entry in header.items()}
    config = digested(GOOD, tensors)
    refused(tmp_path, file_bytes({"__metadata__": {"emosteer": canonical(config)}, **header}, DATA), first)


def test_bytes_after_the_last_tensor_are_an_error(tmp_path):
    refused(tmp_path, build(GOLDEN_TENSORS, GOOD) + b"\0", "bytes")


def test_a_file_cut_anywhere_is_an_error(tmp_path):
    content = build(GOLDEN_TENSORS, GOOD)
    for length in [*range(10), *range(10, len(content), 97), len(content) - 1]:
        refused(tmp_path, content[:length])


@pytest.mark.parametrize("length", [0, 1, 2, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_header_length_that_is_not_that_of_the_header_is_an_error(tmp_path, length):
    refused(tmp_path, file_bytes({**METADATA, **entries(GOLDEN_TENSORS)}, DATA, length=length))


def padded(length: int) -> bytes:
    """The golden file with a header of exactly this length, blanks for the most part."""
    raw = json.dumps({**METADATA, **entries(GOLDEN_TENSORS)}).encode()
    return file_bytes(raw + b" " * (length - len(raw)), DATA)


def test_a_header_of_16_mib_is_read_and_one_byte_more_is_refused(golden, tmp_path):
    assert_same(load(tmp_path, padded(16 * 2**20)), golden)
    refused(tmp_path, padded(16 * 2**20 + 1), "header")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"x"',
        b"\xff" * 8,
        b"{}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b'{"a": NaN}',
        b"\0" * 64,
    ],
    ids=repr,
)
def test_a_header_that_is_no_json_object_or_an_empty_one_is_an_error(tmp_path, raw):
    refused(tmp_path, file_bytes(raw, b""))


@pytest.mark.parametrize(
    ("key", "value"),
    [("emosteer", None), ("emosteer", 5), ("emosteer", {}), ("emosteer", ""), ("emosteer", "null"), ("emosteer", "[]")],
)
def test_metadata_that_is_no_config_is_an_error(tmp_path, key, value):
    refused(tmp_path, file_bytes({"__metadata__": {key: value}, **entries(GOLDEN_TENSORS)}, DATA))


@pytest.mark.parametrize(
    "metadata", [None, [], {}, "x", {"format": "pt"}, {"emosteer": canonical(GOOD), "format": "pt"}]
)
def test_metadata_with_another_key_or_none_is_an_error(tmp_path, metadata):
    refused(tmp_path, file_bytes({"__metadata__": metadata, **entries(GOLDEN_TENSORS)}, DATA), "metadata")


def test_keys_that_stand_twice_are_an_error_wherever_they_are(tmp_path):
    header = json.dumps({**METADATA, **entries(GOLDEN_TENSORS)})
    in_header = header[:-1] + ',"center":' + json.dumps(entries(GOLDEN_TENSORS)["center"]) + "}"
    in_entry = header.replace('"dtype"', '"dtype": "F32", "dtype"', 1)
    in_metadata = header.replace('"emosteer"', '"emosteer": "{}", "emosteer"', 1)
    text = canonical(GOOD)
    in_config = text[:-1] + ',"license":"Apache-2.0"}'
    in_emotion = text.replace('"name":"joy"', '"name":"joy","name":"joy"')
    deep = text.replace('"rsa":0.5', '"rsa":0.5,"rsa":0.5')
    for raw in (in_header, in_entry, in_metadata):
        assert raw != header
        refused(tmp_path, file_bytes(raw.encode(), DATA), "stands twice")
    for config in (in_config, in_emotion, deep):
        assert config != text
        refused(tmp_path, build(GOLDEN_TENSORS, config), "stands twice")


def test_a_very_long_key_that_stands_twice_is_not_shown_whole(tmp_path):
    key = json.dumps("k" * 100_000)
    refused(tmp_path, file_bytes(f"{{{key}:1,{key}:1}}".encode(), b""), "stands twice")


DEPTHS = [*range(20, 800, 40), *range(800, 1_010), 5_000, 100_000]
NESTS = {"lists": ("[", "]", "0"), "objects": ('{"a":', "}", "0")}


@pytest.mark.parametrize("kind", NESTS)
@pytest.mark.parametrize("place", ["header", "extraction", "measured", "an unknown field"])
@pytest.mark.filterwarnings("ignore:The vector file has fields:emosteer.EmosteerWarning")  # the unknown field is one
def test_nesting_of_any_depth_loads_or_is_a_format_error(tmp_path, kind, place):
    """And what loads can be saved: the depth that Python follows is not the same in every function."""
    begin, end, core = NESTS[kind]
    header = json.dumps({**METADATA, **entries(GOLDEN_TENSORS)})
    where = {"extraction": '"extraction":{', "measured": '"measured":{', "an unknown field": "{"}
    for depth in DEPTHS:
        nested = begin * depth + core + end * depth
        if place == "header":
            content = file_bytes((header[:-1] + f',"a":{nested}}}').encode(), DATA)
        else:
            text = canonical(GOOD).replace(where[place], f'{where[place]}"a":{nested},', 1)
            fields = re.sub(r'"config_digest":"[0-9a-f]{64}",', "", text)
            seal = hashlib.sha256(fields.encode()).hexdigest()  # canonical, as "a" is the first key in its place
            content = build(
                GOLDEN_TENSORS, text.replace(GOOD["config_digest"], seal) if place != "an unknown field" else text
            )
        try:
            loaded = load(tmp_path, content)
        except FormatError as error:
            one_clear_line(error)
        else:
            if place != "an unknown field":  # which is gone
                loaded.save_pretrained(tmp_path / "again")


# Values of the config. Each file is sealed and digested anew: only the check of the field itself can refuse it.


JOY, DOSE = ("emotions", 1), ("doses", "joy")
HUGE = 10**4_000
BAD_VALUES: list[tuple[tuple, list]] = [
    (("base_model",), [MISSING, None, [], "x"]),
    (("base_model", "model_type"), [MISSING, None, 5, "a\nb", "x" * 2_000]),
    (("base_model", "num_hidden_layers"), [MISSING, None, 0, -1, 4, "6", 6.0, True, HUGE]),
    (("base_model", "hidden_size"), [MISSING, None, 0, "4", 4.0, HUGE]),
    (("base_model", "repo_id"), ["", "../x", "a/b/c", "/etc/passwd", "a b", 5, "x" * 300, "\ud800"]),
    (("base_model", "revision"), [5, "a\nb", []]),
    (("base_model", "weights_variant"), [5, "\x1b[31m", {}]),
    (("base_model", "fingerprint"), ["xyz", 5, "5E" * 32, "5e" * 33]),
    (
        ("layers",),
        [MISSING, None, [], {}, "24", [4, 2], [2, 2], [2, 6], [-1, 2], [2.0, 4], [True, 4], [[2], [4]], [2, HUGE]],
    ),
    (("layers",), [[2], [2, 3, 4], list(range(10_000))]),
    (("site",), [MISSING, None, 5, []]),
    (("emotions",), [MISSING, None, [], {}, "joy", ["joy"], [None]]),
    ((*JOY, "name"), [MISSING, None, 5, [], "quiet-fear", "", "Joy", "x" * 65, "é", "joy\n", "1joy", "\ud800", "a.b"]),
    ((*JOY, "name"), ["../joy", "..", "/joy", "a/b", "a\\b", "joy\0", "~joy", "-joy"]),
    ((*JOY, "labels"), [None, [], "joy", {"en": 5}, {"en": "a\nb"}, {"en": "\ud800"}, {"en": "x" * 2_000}]),
    ((*JOY, "labels"), [{"\ud800": "joy"}, {"a\nb": "joy"}, {"": "joy"}, {"x" * 5_000: "joy"}]),
    ((*JOY, "valence"), ["0.5", 1.5, -1.01, True, [], HUGE, 1e308]),
    ((*JOY, "arousal"), ["0.5", 2, {}, -HUGE]),
    ((*JOY, "source"), [5, "a\nb", []]),
    (("doses",), [None, [], "x", {"nobody": GOOD["doses"]["joy"]}, {"joy": None}, {"joy": {}}, {"joy": []}]),
    ((*DOSE, "dose"), [MISSING, None, "0.4", -0.5, True, 1e9, HUGE]),
    ((*DOSE, "layers"), [MISSING, None, [], [3], [2, 4], [4.0], "4", [HUGE]]),
    ((*DOSE, "weights"), [MISSING, None, [], [0.5, 0.5], ["x"], [None], [1e300], [True], 0.5, {"4": 0.5}]),
    ((*DOSE, "scope"), [None, 5, []]),
    ((*DOSE, "budget"), [-1, "x", HUGE]),
    ((*DOSE, "cost"), ["x", 1e9]),
    ((*DOSE, "hit_rate"), [1.5, -0.1, "x"]),
    ((*DOSE, "stopped"), [5, "a\nb"]),
    (("extraction",), [None, [], "x", 5]),
    (("measured",), [None, [], "x"]),
    (("license",), [5, "a\nb", "x" * 2_000, "\ud800"]),
    (("critical",), [None, {}, "site", [5], [None]]),
    (("emosteer_version",), [5, "a\nb", "\x1b[2J"]),
]


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in BAD_VALUES for value in values],
    ids=lambda part: ascii("MISSING" if part is MISSING else part)[:40],
)
def test_a_value_of_the_wrong_kind_or_out_of_range_is_an_error(tmp_path, path, value):
    config = sealed(changed(GOOD, path, value))
    tensors = dict(GOLDEN_TENSORS)
    if path == (*JOY, "name") and isinstance(value, str) and value != "quiet-fear":
        tensors[f"direction.{value}"] = tensors.pop("direction.joy")  # nothing but the name itself is wrong
        config = digested({**config, "doses": {}}, tensors)
    refused(tmp_path, build(tensors, config))
    with pytest.raises(FormatError), fmt.VectorFile.open(tmp_path / "crafted.safetensors"):
        pass  # refused on opening, whatever is then asked for


@pytest.mark.parametrize(
    "digests", [MISSING, None, [], {"center": 5}, {"center": "xyz"}, {"center": "A" * 64}], ids=repr
)
def test_digests_that_are_none_are_an_error(tmp_path, digests):
    value = {**GOOD["digests"], **digests} if isinstance(digests, dict) else digests
    refused(tmp_path, build(GOLDEN_TENSORS, sealed(changed(GOOD, ("digests",), value))), "digest")


def test_more_than_a_thousand_emotions_are_an_error(tmp_path):
    config = sealed({**GOOD, "emotions": [{"name": f"e{i}", "labels": {}} for i in range(1_001)]})
    refused(tmp_path, build(GOLDEN_TENSORS, config), "1000")


@pytest.mark.parametrize(
    "literal", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5_000, "0x10", "01", "tru"]
)
@pytest.mark.parametrize("place", ['"valence":', '"hidden_size":', '"rsa":', '"seed":'])
def test_a_literal_that_is_no_json_number_is_an_error(tmp_path, place, literal):
    text = re.sub(re.escape(place) + r"[^,}]*", place + literal, canonical(GOOD))
    refused(tmp_path, build(GOLDEN_TENSORS, text))


@pytest.mark.parametrize("name", ["../joy", "a/b", "Joy", "", "x" * 65, "joy\n", "é", "a b", ".", "\ud800"])
def test_vectors_cannot_be_made_with_such_a_name_either(golden, name):
    with pytest.raises(FormatError) as caught:
        replace(golden, directions={name: golden.directions["joy"]})
    one_clear_line(caught.value)


EXTRACTIONS = [
    *({"stability": []}, {"stability": 5}, {"stability": {"joy": "x"}}, {"stability": {"joy": [1]}}),
    *({"stability": None}, {"counts": None, "concepts": "x"}, {"counts": [5], "concepts": "x"}),
    *({"languages": 5}, {"languages": [5]}, {"languages": "en"}, {"method": []}, {"concepts": {}}, {"pooling": 5}),
    *({"concepts": "\ud800"}, {"languages": ["\ud800"]}, {"anything": "\ud800"}, {"\ud800": 0}),
    *({"anything": HUGE}, {"anything": -(2**64)}, {"anything": 1e308}, {"": {"": [[], {}]}}),
]


@pytest.mark.parametrize("extraction", EXTRACTIONS, ids=lambda value: ascii(value)[:40])
def test_odd_words_on_the_extraction_are_refused_or_do_no_harm_later(tmp_path, extraction):
    """A stranger's file that loads can be summarised and saved as any other."""
    content = build(GOLDEN_TENSORS, sealed({**GOOD, "extraction": extraction}))
    try:
        loaded = load(tmp_path, content)
    except FormatError as error:
        one_clear_line(error)
        return
    json.dumps(loaded.summary())
    loaded.save_pretrained(tmp_path / "again")
    assert_same(EmotionVectors.from_pretrained(tmp_path / "again"), loaded)


# Files that are something else


def test_a_plain_safetensors_file_is_refused_as_foreign(tmp_path):
    for metadata in (None, {"format": "pt"}):
        content = safetensors.torch.save({"weight": torch.zeros(2, 4)}, metadata)
        refused(tmp_path, content, "not one of emosteer")


def test_a_pickle_is_refused_unopened(tmp_path):
    torch.save({"weight": torch.zeros(2, 4)}, tmp_path / "model.bin")
    refused(tmp_path, (tmp_path / "model.bin").read_bytes())


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"{}", b"just some text\n" * 100, b"<!DOCTYPE html>" * 50, b"version https://git-lfs", b"\0" * 4_096],
    ids=["empty", "one-byte", "json", "text", "html", "lfs-pointer", "zeros"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    refused(tmp_path, content, "crafted.safetensors")


@pytest.mark.parametrize("name", ["nowhere", "nowhere/deep/inside", "x" * 300, "x" * 5_000, "a\0b"])
def test_a_path_where_nothing_is_gives_one_clear_error(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError) as caught:
        EmotionVectors.from_pretrained(name)
    assert "cannot be read" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_path_that_may_be_a_repository_is_one_clear_error_without_a_connection(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HubError, match="user/some-emotions is no folder here, cannot be got from the Hub now"):
        EmotionVectors.from_pretrained("user/some-emotions")
    assert not list(tmp_path.iterdir())


def test_a_folder_without_the_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"vectors\.safetensors") as caught:
        EmotionVectors.from_pretrained(tmp_path)
    one_clear_line(caught.value)


def test_a_folder_in_the_place_of_the_file_is_an_error(tmp_path):
    (tmp_path / "vectors.safetensors").mkdir()
    with pytest.raises(FormatError, match="cannot be read"):
        EmotionVectors.from_pretrained(tmp_path)


def test_an_error_of_the_caller_while_the_file_is_open_stays_its_own():
    with pytest.raises(FileNotFoundError), fmt.VectorFile.open(GOLDEN):
        raise FileNotFoundError(errno.ENOENT, "of something else")


# What cannot be read back is not written


@pytest.mark.parametrize(
    "change",
    [
        lambda v: {"residual_norm": v.residual_norm.double()},
        lambda v: {"residual_norm": v.residual_norm.bfloat16()},
        lambda v: {"center": v.center.double()},
        lambda v: {"center": v.center.bfloat16()},
        lambda v: {"center": v.center * math.nan},
        lambda v: {"center": v.center[:1]},
        lambda v: {"neutral_basis": v.neutral_basis[:1]},
        lambda v: {"neutral_basis": v.neutral_basis * math.inf},
        lambda v: {"neutral_basis": v.neutral_basis[:, 0]},
        lambda v: {"directions": {"joy": v.directions["joy"], "glee": v.directions["joy"]}},
        lambda v: {"directions": {name: rows.double() for name, rows in v.directions.items()}},
        lambda v: {"directions": {"joy": torch.tensor([[0.5, 0.5, 0.5, 0.5]]).expand(2, 4)}},
        lambda v: {"directions": {}},
        lambda v: {"layers": (4, 2)},
        lambda v: {"layers": (4, 9)},
        lambda v: {"license": "a\nb"},
        lambda v: {"doses": {"joy": Dose(0.5, (3,), (1.0,))}},
        lambda v: {"info": {"joy": EmotionInfo(valence=math.nan)}},
        lambda v: {"info": {"joy": EmotionInfo(valence=5)}},
        lambda v: {"extraction": {"stability": {"joy": math.nan}}},
        lambda v: {"extraction": {"who": "\ud800"}},
        lambda v: {"measured": {"share": math.inf}},
        lambda v: {"measured": {"text": "x" * (17 * 2**20)}},
        lambda v: {"measured": {"text": '"' * 600_000}},
        lambda v: {"measured": {"curve": [0.12345678] * 150_000}},
    ],
    ids=[
        *("norms-f64", "norms-bf16", "center-f64", "center-bf16", "center-nan", "center-shape", "basis-shape"),
        *("basis-inf", "basis-2d", "one-tensor-two-names", "directions-f64", "expanded", "no-emotion", "layers-fall"),
        *("layer-beyond", "license", "dose-layer", "valence-nan", "valence-5", "stability-nan", "surrogate"),
        *("measured-inf", "header-17-mib", "many-quotes", "long-curve"),
    ],
)
def test_what_is_saved_can_be_loaded_or_nothing_is_written(golden, tmp_path, change):
    """Refused when the vectors are made or when they are saved, with FormatError or InputError; or it comes back."""
    try:
        vectors = replace(golden, **change(golden))
        vectors.save_pretrained(tmp_path / "v")
    except (FormatError, InputError) as error:
        one_clear_line(error)
        assert not (tmp_path / "v").exists()
    else:
        back = EmotionVectors.from_pretrained(tmp_path / "v")
        for name in vectors.emotions:
            torch.testing.assert_close(back.directions[name], vectors.directions[name].float())


# Writing whole or not at all


@pytest.fixture
def old(golden, tmp_path) -> Path:
    """A folder that holds vectors already."""
    golden.save_pretrained(tmp_path / "v")
    return tmp_path / "v"


def nth_call(n: int, error: BaseException, original, *, when: str = "before"):
    """A function that fails at its n-th call, before or right after it has done its work."""
    calls = iter(range(n + 1))

    def failing(*args, **options):
        now = next(calls, None) == n
        if now and when == "before":
            raise error
        result = original(*args, **options)
        if now:
            raise error
        return result

    return failing


FAILURES = {
    "no space left": (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), InputError),
    "an error of the disk": (OSError(errno.EIO, os.strerror(errno.EIO)), InputError),
    "Ctrl-C": (KeyboardInterrupt(), KeyboardInterrupt),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("n", range(3))
def test_a_failure_while_writing_leaves_the_old_content_and_no_scratch(old, full, monkeypatch, failure, n):
    error, raised = FAILURES[failure]
    before = contents(old)
    monkeypatch.setattr(os, "fsync", nth_call(n, error, os.fsync))
    with pytest.raises(raised) as caught:
        full.save_pretrained(old)
    assert contents(old) == before
    if raised is InputError:
        assert error.strerror in one_clear_line(caught.value)


@pytest.mark.parametrize(("failure", "when"), [("no space left", "before"), ("Ctrl-C", "before"), ("Ctrl-C", "after")])
@pytest.mark.parametrize("n", range(6))
def test_a_failure_while_the_files_are_put_in_place_leaves_all_old_or_all_new(
    old, full, tmp_path, monkeypatch, failure, when, n
):
    """At whatever step: after an interrupt right at the end everything may be new, but nothing half-way."""
    error, raised = FAILURES[failure]
    full.save_pretrained(shutil.copytree(old, tmp_path / "new"))  # a card that is there keeps its front matter
    before, new = contents(old), contents(tmp_path / "new")
    monkeypatch.setattr(os, "replace", nth_call(n, error, os.replace, when=when))
    try:
        full.save_pretrained(old)
    except raised:
        after = contents(old)
        assert after in ([before, new] if when == "after" else [before])
    else:
        assert n > 0  # there are fewer steps
        assert contents(old) == new
    monkeypatch.undo()


def test_at_no_moment_of_saving_over_old_vectors_is_a_file_missing(old, full, monkeypatch):
    """Another process may load at any moment, and this one be killed."""
    steps = []

    def watched(original):
        def watching(*args, **options):
            result = original(*args, **options)
            steps.append(original.__name__)
            assert set(FILES) <= set(contents(old)), f"after {steps}"
            return result

        return watching

    for name in ("replace", "rename", "link", "unlink"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    full.save_pretrained(old)
    assert len(steps) >= 3


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_in_a_new_folder_leaves_nothing(full, tmp_path, monkeypatch, failure):
    error, raised = FAILURES[failure]
    monkeypatch.setattr(os, "fsync", nth_call(1, error, os.fsync))
    with pytest.raises(raised):
        full.save_pretrained(tmp_path / "new" / "and" / "deep")
    assert not list(tmp_path.iterdir())


def test_a_real_limit_on_the_size_of_files_leaves_the_old_content(old):
    """The kernel itself refuses the bytes, in a process that may write files of 64 KiB at most."""
    before = contents(old)
    script = """
import resource, sys
from pathlib import Path
from emosteer.errors import InputError
from emosteer._util.atomic import write_folder
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    write_folder(Path(sys.argv[1]), {"config.json": b"{}", "vectors.safetensors": bytes(100_000)})
except InputError as error:
    sys.exit(f"refused: {error}")
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(old)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("refused: ")
    assert os.strerror(errno.EFBIG) in done.stderr
    assert contents(old) == before


@pytest.mark.parametrize("inside", ["", "sub", "sub/folder"])
def test_a_file_in_the_place_of_the_folder_is_one_clear_error(full, tmp_path, inside):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError) as caught:
        full.save_pretrained(tmp_path / "taken" / inside)
    assert "taken" in one_clear_line(caught.value)
    assert contents(tmp_path) == {"taken": b"mine"}


@pytest.mark.parametrize("name", FILES)
def test_a_folder_in_the_place_of_one_file_leaves_the_others_as_they_were(old, full, name):
    (old / name).unlink()
    (old / name).mkdir()
    before = {path.name: path.read_bytes() for path in old.iterdir() if path.is_file()}
    with pytest.raises(InputError) as caught:
        full.save_pretrained(old)
    assert str(old) in str(caught.value)
    assert {path.name: path.read_bytes() for path in old.iterdir() if path.is_file()} == before
    assert (old / name).is_dir()


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5_000], ids=["long", "longer"])
def test_a_name_too_long_for_a_folder_is_one_clear_error_and_leaves_nothing(full, tmp_path, name):
    with pytest.raises(InputError):
        full.save_pretrained(tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


def test_saving_over_old_vectors_replaces_them(old, full):
    full.save_pretrained(old)
    assert_same(EmotionVectors.from_pretrained(old), full)
    assert sorted(contents(old)) == sorted(FILES)


def test_other_files_in_the_folder_are_left_alone(full, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    full.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_files_are_as_readable_as_the_umask_lets_them_be(full, tmp_path):
    before = os.umask(0o027)
    try:
        full.save_pretrained(tmp_path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in FILES} == {0o640}


def test_a_folder_can_be_tried_out_without_a_trace(tmp_path):
    atomic.require_writable(tmp_path / "new" / "deep")
    atomic.require_writable(tmp_path)
    assert not list(tmp_path.iterdir())


def test_trying_out_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(InputError, match="taken"):
        atomic.require_writable(tmp_path / "taken" / "sub")
    monkeypatch.setattr(os, "fsync", nth_call(0, FAILURES["no space left"][0], os.fsync))
    with pytest.raises(InputError, match="No space left"):
        atomic.require_writable(tmp_path / "new")
    assert contents(tmp_path) == {"taken": b"mine"}


# Strict JSON


def test_canonical_json_is_sorted_tight_and_ascii():
    assert strict_json.canonical({"b": [1, 2.5, None], "a": {"é": True}}) == '{"a":{"\\u00e9":true},"b":[1,2.5,null]}'


def test_pretty_json_is_for_people_and_reads_back_the_same():
    value = {"b": ["喜悦", 0.1], "a": {}}
    text = strict_json.pretty(value)
    assert text == '{\n  "a": {},\n  "b": [\n    "喜悦",\n    0.1\n  ]\n}\n'
    assert strict_json.loads(text) == value


@pytest.mark.parametrize("write", [strict_json.canonical, strict_json.pretty])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_with_a_number_that_is_none_is_not_written(write, value):
    with pytest.raises(ValueError, match="JSON"):
        write({"a": value})


@pytest.mark.parametrize("text", ['{"a":1,"b":[0.5,null,true,"\\ud83d\\ude00"]}', "[]", "0", "-0.0", '"x"', " {}\n"])
def test_what_is_json_is_read_as_json_reads_it(text):
    assert strict_json.loads(text) == strict_json.loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1,]", "{'a':1}", "nul", "1 2", "NaN", "[Infinity]", "-Infinity", "1e999", "[-1e999]", "9" * 5_000),
        *(
            '{"a":1,"a":1}',
            '[{"b":{"a":1,"a":2}}]',
            "[" * 200_000,
            '{"a":' * 200_000,
            b"\xff\xfe{\x00}\x00",
            b'"\xed\xa0\x80"',
        ),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_not_strict_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"\w+"):
        strict_json.loads(text)


# Memory and time: few bytes that would be much work


def many(item: str, times: int) -> str:
    return f'"bulk":[{",".join([item] * times)}]'


BULK = {
    "empty lists": lambda: many("[]", 1_100_000),
    "small objects": lambda: many('{"a":0}', 800_000),
    "numbers": lambda: many("1.5", 1_600_000),
    "keys": lambda: '"bulk":{' + ",".join(f'"{i}":0' for i in range(900_000)) + "}",
    "a key twice": lambda: '"bulk":{' + ",".join(f'"{i}":0' for i in [*range(90_000), 89_999]) + "}",
    "a long text": lambda: '"bulk":"' + "x" * 16_000_000 + '"',
    "a wide text": lambda: '"bulk":"' + "x" * 16_000_000 + '😀"',  # one such character makes all take four bytes
    "a long number": lambda: '"bulk":' + "9" * 10_000_000,
}


PLAIN = sealed(changed(GOOD, ("emotions", 0, "labels"), {}))  # nothing beyond ASCII, which has a limit of its own


def in_header(bulk: str) -> dict[str, bytes]:
    return {
        "vectors.safetensors": file_bytes(
            f"{{{bulk},{json.dumps({'__metadata__': {'emosteer': canonical(PLAIN)}})[1:]}".encode(), DATA
        )
    }


def in_metadata(bulk: str) -> dict[str, bytes]:
    return {"vectors.safetensors": build(GOLDEN_TENSORS, f"{{{bulk},{canonical(GOOD)[1:]}")}


def in_metadata_escaped(bulk: str) -> dict[str, bytes]:
    r"""As above, with `[` written as `\u005b` in the header: there are few brackets until it has been parsed once."""
    text = json.dumps(f"{{{bulk},{canonical(GOOD)[1:]}")
    for mark in "[{,":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    header = json.dumps(entries(GOLDEN_TENSORS))
    return {"vectors.safetensors": file_bytes(f'{{"__metadata__":{{"emosteer":{text}}},{header[1:]}'.encode(), DATA)}


def in_config_json(bulk: str) -> dict[str, bytes]:
    good = {"vectors.safetensors": build(GOLDEN_TENSORS, GOOD)}
    return {**good, "config.json": f"{{{bulk},{canonical(PLAIN)[1:]}".encode()}


@pytest.fixture(scope="module")
def loader():
    """A child process that loads files beside the golden one and says what came of it and how its memory grew."""
    command = [sys.executable, str(Path(fuzz_format.__file__)), "--child", str(GOLDEN / "vectors.safetensors")]
    process = fuzz_format.Child(command, timeout=30)
    yield process
    process.stop()


BULKY = {
    in_header: (
        "empty lists",
        "small objects",
        "numbers",
        "keys",
        "a key twice",
        "a long number",
        "a long text",
        "a wide text",
    ),
    in_metadata: ("a key twice", "a long text", "a wide text"),
    in_metadata_escaped: ("empty lists", "small objects", "numbers", "keys", "a key twice"),
    in_config_json: ("small objects", "numbers", "keys", "a key twice", "a long text", "a wide text"),
}


@pytest.mark.parametrize(("place", "bulk"), [(place, bulk) for place, bulks in BULKY.items() for bulk in bulks])
def test_a_bulky_file_takes_neither_much_memory_nor_for_ever(loader, tmp_path, place, bulk):
    files = place(BULK[bulk]())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content[: 16 * 2**20])  # more is refused by its size alone
    found = loader.ask(tmp_path if len(files) > 1 else tmp_path / "vectors.safetensors")
    assert found["outcome"] in fuzz_format.FINE, found
    assert found["growth"] <= fuzz_format.ALLOWED_GROWTH, f"{found['growth'] / 2**20:.0f} MiB"


# Fuzzing: here a few hundred mutants of a small file, by `make fuzz` 10,000 of a real one


def test_mutated_files_end_in_format_error_or_load_equal(tmp_path):
    file = fuzz_format.make_good(tmp_path, emotions=6, layers=8, width=64)
    report = fuzz_format.run(file, n=300, seed=0)
    assert not report.violations
    assert sum(counts.total() for counts in report.counts.values()) == 300
    assert all(counts["FormatError"] for counts in report.counts.values())
    assert sum(counts["equal"] for counts in report.counts.values())


def test_mutants_are_the_same_again_and_differ_from_the_good_file(tmp_path):
    good = fuzz_format.Good.read(fuzz_format.make_good(tmp_path, emotions=3, layers=3, width=16))
    n = 3 * len(fuzz_format.KINDS)
    first, again = ([fuzz_format.mutant(good, 5, i) for i in range(n)] for _ in range(2))
    assert first == again
    assert sum(files == {"vectors.safetensors": good.file} for _, files in first) <= 2  # a block moved onto its like
    assert first != [fuzz_format.mutant(good, 6, i) for i in range(n)]


def test_what_the_fuzzer_does_not_change_it_writes_as_it_was(tmp_path):
    file = fuzz_format.make_good(tmp_path, emotions=3, layers=3, width=16)
    good = fuzz_format.Good.read(file)
    outer, inner = good.header()
    expected = EmotionVectors.from_pretrained(file)
    for escaped in (False, True):
        inner.escaped = escaped
        assert_same(load(tmp_path, good.with_header(outer)["vectors.safetensors"]), expected)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("""print('{"outcome": "equal", "growth": 0}', flush=True)""", None),
        ("""print('{"outcome": "KeyError", "growth": 0}', flush=True)""", "KeyError"),
        ("""print('{"outcome": "equal", "growth": 99999999}', flush=True)""", "too much memory"),
        ("import os; os._exit(9)", "crashed"),
        ("import time; time.sleep(600)", "hung"),
    ],
)
def test_the_fuzzer_notices_what_a_child_does(tmp_path, monkeypatch, answer, outcome):
    monkeypatch.setattr(fuzz_format, "START", 0)
    stub = f"import sys\nfor line in sys.stdin:\n    {answer}"
    report = fuzz_format.run(
        GOLDEN / "vectors.safetensors", n=2, timeout=2, command=[sys.executable, "-c", stub], keep=tmp_path / "kept"
    )
    assert {violation.outcome for violation in report.violations} == ({outcome} if outcome else set())
    assert len(report.violations) == (2 if outcome else 0)
    assert (tmp_path / "kept").exists() == bool(outcome)
    assert json.loads(json.dumps(report.to_dict()))["violations"] == report.to_dict()["violations"]


@pytest.mark.parametrize(
    ("loads", "outcome"),
    [
        (lambda golden: golden, "equal"),
        (lambda golden: replace(golden, license=None), "loaded changed"),
        (lambda golden: replace(golden, center=golden.center + 1e-6), "loaded changed"),
        (lambda golden: golden.select(["joy"]), "loaded changed"),
        (lambda _: {}["no"], "KeyError"),
        (lambda _: exec("raise RecursionError"), "RecursionError"),
    ],
)
def test_the_fuzzer_tells_equal_from_changed_and_from_other_errors(golden, monkeypatch, loads, outcome):
    monkeypatch.setattr(EmotionVectors, "from_pretrained", classmethod(lambda *_: loads(golden)))
    assert fuzz_format.judge(GOLDEN, golden)["outcome"] == outcome


def test_the_fuzzer_lets_a_warning_on_an_unknown_field_pass_and_no_other(golden, monkeypatch):
    for category, outcome in ((EmosteerWarning, "equal, warned"), (RuntimeWarning, "foreign warning")):

        def warn(*_, category=category):
            warnings.warn("so", category, stacklevel=1)
            return golden

        monkeypatch.setattr(EmotionVectors, "from_pretrained", classmethod(warn))
        assert fuzz_format.judge(GOLDEN, golden)["outcome"] == outcome
