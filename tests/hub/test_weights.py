"""How large a model is, before it is downloaded."""

from __future__ import annotations

import pytest
from huggingface_hub import hf_hub_download

from emosteer import embedded
from emosteer.errors import HubError, InputError
from emosteer.hub.weights import downloaded_bytes, weight_bytes
from tests.loopback import LoopbackHub, connected

BASE = {"config.json": b"{}", "tokenizer.json": b"x" * 999}
ONE = {"model.safetensors": b"x" * 5_000, "onnx/model.safetensors": b"x" * 77, "consolidated.safetensors": b"x" * 88}
PARTS = {f"model-0000{i}-of-00002.safetensors": b"x" * (3_000 + i) for i in (1, 2)}
OLD = {"pytorch_model.bin": b"x" * 700}
OLD_PARTS = {f"pytorch_model-0000{i}-of-00002.bin": b"x" * (20 + i) for i in (1, 2)}
KINDS = [
    (ONE, 5_000),
    (ONE | OLD, 5_000),
    (PARTS | {"model.safetensors.index.json": b"{}"}, 6_003),
    (PARTS | OLD, 6_003),
    (OLD | {"tf_model.h5": b"x"}, 700),
    (OLD_PARTS, 43),
    ({"model-q4.gguf": b"x" * 50}, None),
]


@pytest.fixture
def site():
    with LoopbackHub(lfs_threshold=4_000) as site:
        yield site


@pytest.mark.parametrize(("files", "size"), KINDS)
def test_a_folder_and_a_repository_are_as_large_as_what_is_loaded_of_them(files, size, site, tmp_path):
    folder = tmp_path / "model"
    for name, data in (BASE | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert weight_bytes(folder) == weight_bytes(str(folder)) == size
    site.create("org/model", BASE | files)
    with connected(site, tmp_path / "home"):
        assert weight_bytes("org/model") == size
    assert not any("resolve" in request.path for request in site.requests)  # nothing was downloaded


def test_what_the_client_has_fetched_is_counted_to_the_byte(site, tmp_path):
    site.create("org/model", BASE | ONE)
    with connected(site, tmp_path / "home"):
        assert downloaded_bytes("org/model") == 0
        for name in ("config.json", "model.safetensors"):
            hf_hub_download("org/model", name)
        assert downloaded_bytes("org/model") == len(BASE["config.json"]) + 5_000
        assert downloaded_bytes("org/other") == 0


def test_a_hub_that_does_not_answer_is_no_error(site, tmp_path, monkeypatch):
    site.create("org/model", BASE | ONE)
    with connected(site, tmp_path / "home") as alice:
        site.fail("/api/models", status=503, times=20)
        assert weight_bytes("org/model") is None
        alice.offline()
        assert weight_bytes("org/model") is None


def test_a_repository_that_is_not_there_or_no_name_is_told(site, tmp_path):
    with connected(site, tmp_path / "home"), pytest.raises(HubError, match="org/none"):
        weight_bytes("org/none")
    for name in ("a b", "../model", "x" * 5000, "missing.gguf"):
        with pytest.raises(InputError, match="nor the name of a repository"):
            weight_bytes(name)


def test_the_embedded_model_and_a_file(tmp_path):
    path = tmp_path / "small.gguf"
    path.write_bytes(b"x" * 12)
    assert weight_bytes(path) == 12
    assert weight_bytes("embedded") == embedded._packaged_gguf().stat().st_size
