"""The command line: what it prints, and that bad input is one clear line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import emosteer
from emosteer import cli, embedded
from emosteer.cli import printing, quickstart
from emosteer.reading.fit import fit_readout
from tests.conftest import small_concepts, tiny_config, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model, a concept set and vectors on disk, all tiny."""
    root = tmp_path_factory.mktemp("cli")
    model, tokenizer = tiny_model(tiny_config(max_position_embeddings=1024)), tiny_tokenizer()
    model.save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    (root / "concepts.json").write_text(json.dumps(small_concepts().to_dict()))
    emosteer.extract(model, tokenizer, small_concepts(), progress=False).save_pretrained(root / "vectors")
    return root


@pytest.fixture
def run(command_line):
    return command_line


def one_line(text: str) -> bool:
    return text.startswith("Error: ") and text.count("\n") == 1 and "Traceback" not in text


def test_the_commands_are_those_that_work():
    assert {command.callback.__name__ for command in cli.app.registered_commands} == {
        "quickstart",
        "steer",
        "read",
        "extract",
        "calibrate",
        "info",
        "push",
        "pull",
        "list_",
        "import_",
        "transfer",
        "demo",
        "serve",
    }


@pytest.mark.parametrize(
    "command", ["quickstart", "steer", "read", "extract", "calibrate", "info", "push", "pull", "list"]
)
def test_every_command_explains_itself(run, command):
    status, out, _ = run(command, "--help")
    assert status == 0
    assert "--json" in out


def test_extract_writes_vectors_that_info_describes(run, folder, tmp_path):
    status, out, _ = run(
        *("extract", "-m", folder / "model", "--concepts", folder / "concepts.json", "-o", tmp_path / "new"),
        "--json",
    )
    assert status == 0
    assert json.loads(out)["emotions"] == ["joy", "fear", "calm"]
    model, tokenizer = tiny_model(tiny_config(max_position_embeddings=1024)), tiny_tokenizer()
    vectors = emosteer.EmotionVectors.from_pretrained(folder / "vectors")
    replace(vectors, readout=fit_readout(model, tokenizer, vectors, progress=False)).save_pretrained(tmp_path / "same")
    assert (tmp_path / "new" / "vectors.safetensors").read_bytes() == (
        tmp_path / "same" / "vectors.safetensors"
    ).read_bytes()
    status, out, _ = run("info", tmp_path / "new", "--json")
    told = json.loads(out)
    assert status == 0
    assert told["schema"] == 1
    assert told["base_model"]["hidden_size"] == 32
    assert [row["name"] for row in told["emotions"]] == ["joy", "fear", "calm"]
    assert [row["calibration"] for row in told["emotions"]] == ["quick"] * 3
    assert all(row["calibrated"] and row["dose"]["divergence"] >= 0 for row in told["emotions"])
    status, out, _ = run("info", tmp_path / "new" / "vectors.safetensors")
    assert "quick, " in out
    assert "joy" in out


def test_extract_takes_emotions_and_layers(run, folder, tmp_path):
    concepts = folder / "concepts.json"
    status, _, _ = run(
        *("extract", "-m", folder / "model", "--concepts", concepts, "-o", tmp_path / "new"),
        *("--emotions", "calm,joy", "--layers", "0-1,3", "--method", "pca"),
    )
    vectors = emosteer.EmotionVectors.from_pretrained(tmp_path / "new")
    assert status == 0
    assert vectors.emotions == ("calm", "joy")
    assert vectors.layers == (0, 1, 3)
    assert vectors.extraction["method"] == "pca"


@pytest.mark.filterwarnings("ignore:The doses could not be measured")
def test_a_context_too_short_for_what_emotion_is_read_with_is_no_reason_to_have_no_vectors(run, folder, tmp_path):
    for part in (tiny_model(tiny_config(max_position_embeddings=64)), tiny_tokenizer()):
        part.save_pretrained(tmp_path / "model")
    options = ("--concepts", folder / "concepts.json", "-o", tmp_path / "new")
    assert run("extract", "-m", tmp_path / "model", *options)[0] == 0
    assert emosteer.EmotionVectors.from_pretrained(tmp_path / "new").readout is None


def test_steer_answers_in_a_tone(run, folder):
    args = ["steer", "Hello there", "-m", folder / "model", "-v", folder / "vectors", "--max-new-tokens", 8]
    plain = json.loads(run(*args, "--json")[1])
    toned = json.loads(run(*args, "-e", "joy=3", "-e", "calm", "--json")[1])
    streamed = run(*args, "-e", "joy=3", "-e", "calm")[1]
    assert plain["emotion"] == {}
    assert toned["emotion"] == {"joy": 3.0, "calm": 1.0}
    assert plain["answer"] != toned["answer"]
    assert printing.printable(toned["answer"]).split() == streamed.split()
    cooked = json.loads(run(*args, "-e", "joy=2", "--recipe", "natural", "--json")[1])
    added = json.loads(run(*args, "-e", "joy=2", "--recipe", "none", "--json")[1])
    asked = json.loads(run(*args, "-e", "joy=2", "--recipe", "asked", "--json")[1])
    best = json.loads(run(*args, "-e", "joy=2", "--json")[1])
    assert [told["recipe"] for told in (plain, added, asked, best)] == [None, None, "asked", "asked_and_steered"]
    assert plain["prompt_tokens"] == added["prompt_tokens"] < asked["prompt_tokens"] == best["prompt_tokens"]
    assert (cooked["recipe"], cooked["emotion"]) == ("natural", {"joy": 2.0})
    assert cooked["answer"] not in (plain["answer"], added["answer"])


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-e", "jou"], "Did you mean joy"),
        (["-e", "joy=nan"], "finite"),
        (["-e", "joy=inf"], "finite"),
        (["-e", "joy=1000"], "±10"),
        (["-e", "joy=much"], "EMOTION=STRENGTH"),
        (["--layers", "2-9"], "no layer"),
        (["--layers", "x"], "does not name layers"),
        (["-e", "joy", "--recipe", "stew"], "no recipe 'stew'"),
        (["-e", "joy", "--chat-template-kwargs", "{"], "no JSON object"),
        (["-e", "joy", "--chat-template-kwargs", '{"tools": []}'], "knows no 'tools'"),
    ],
)
def test_a_tone_that_cannot_be_given_is_one_line(run, folder, args, says):
    status, out, err = run("steer", "Hello", "-m", folder / "model", "-v", folder / "vectors", *args)
    assert (status, out) == (1, "")
    assert one_line(err), err
    assert says in err


def test_a_loud_tone_is_a_warning_line(run, folder):
    args = ("-m", folder / "model", "-v", folder / "vectors", "-e", "joy=4", "--max-new-tokens", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        status, _, err = run("steer", "Hello", *args)
    assert status == 0
    assert err.startswith("Warning: ")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["steer", " ", "-v", "{vectors}", "-m", "{model}"], "empty"),
        (["steer", "a" * 1100, "-v", "{vectors}", "-m", "{model}"], "context ends at 1024"),
        (["steer", "Hi", "-m", "{model}"], "--vectors"),
        (["steer", "Hi", "-v", "{nothing}", "-m", "{model}"], "cannot be read"),
        (["steer", "Hi", "-v", "{vectors}", "-m", "{nothing}"], "There is no folder"),
        (["steer", "Hi", "-v", "{vectors}", "-m", "{vectors}/x.gguf"], "no GGUF file"),
        (["info", "{model}/config.json"], "not a valid emosteer vector file"),
        (["info", "{model}/model.safetensors"], "not one of emosteer"),
        (["extract", "-o", "{new}", "-m", "{model}", "--concepts", "xx"], "no concept set"),
        (["extract", "-o", "{new}", "-m", "{model}", "--concepts", "{concepts}", "--method", "magic"], "magic"),
        (["extract", "-o", "{new}", "-m", "{model}", "--concepts", "{concepts}", "--emotions", "rage"], "rage"),
        (["extract", "-o", "{concepts}/deep", "-m", "{model}"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, folder, tmp_path, args, says):
    places = {name: folder / name for name in ("model", "vectors")} | {
        "nothing": tmp_path / "nothing",
        "new": tmp_path / "new",
        "concepts": folder / "concepts.json",
    }
    status, out, err = run(*(arg.format(**places) for arg in args))
    assert (status, out) == (1, "")
    assert one_line(err), err
    assert says in err
    assert not (tmp_path / "new").exists()


def test_a_concept_set_without_a_part_is_named_with_its_emotion(run, folder, tmp_path):
    broken = small_concepts().to_dict()
    del broken["emotions"]["fear"]["texts"]["en"]["situations"]
    (tmp_path / "mine.json").write_text(json.dumps(broken))
    status, _, err = run(
        "extract", "-m", folder / "model", "--concepts", tmp_path / "mine.json", "-o", tmp_path / "new"
    )
    assert status == 1
    assert one_line(err)
    assert all(word in err for word in ("mine.json", "fear", "situations"))


def test_a_model_without_a_chat_template_continues_the_text(run, folder, tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tiny_model().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    asked = ("-e", "joy", "-m", tmp_path / "base", "-v", folder / "vectors", "--max-new-tokens", "5", "--layers", "2")
    status, out, _ = run("steer", "Hi", *asked, "--recipe", "natural", "--json")
    assert status == 0
    steered = emosteer.SteeredModel.from_pretrained(tmp_path / "base", vectors=folder / "vectors")
    expected = steered.complete("Hi", emotion={"joy": 1.0}, layers=[2], recipe="natural", max_new_tokens=5)
    told = json.loads(out)
    assert (told["answer"], told["finish_reason"], told["completion_tokens"]) == (expected.strip(), "length", 5)


def test_text_is_decoded_as_the_models_generation_config_says(run, folder):
    steered = emosteer.SteeredModel.from_pretrained(folder / "model", vectors=folder / "vectors")
    asked = ("-e", "joy", "-m", folder / "model", "-v", folder / "vectors", "--max-new-tokens", "5")
    _, out, err = run("steer", "Hi", *asked)
    assert out.strip() == steered.chat("Hi", emotion={"joy": 1.0}, max_new_tokens=5).strip()
    assert "cut after 5 tokens" in err
    _, out, _ = run("steer", "Hi", *asked, "--temperature", "3", "--seed", "2")
    sampled = {"do_sample": True, "temperature": 3.0, "seed": 2}
    assert out.strip() == steered.chat("Hi", emotion={"joy": 1.0}, max_new_tokens=5, **sampled).strip()


def test_vectors_of_another_model_are_refused(run, folder, tmp_path):
    from tests.conftest import tiny_config

    tiny_model(tiny_config(hidden_size=48)).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    status, _, err = run("steer", "Hi", "-m", tmp_path / "other", "-v", folder / "vectors")
    assert status == 1
    assert "width 32" in err
    assert "width 48" in err


def test_an_interrupt_ends_quietly_and_leaves_nothing(run, folder, tmp_path, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(emosteer, "extract", interrupted, raising=False)
    status, out, err = run("extract", "-m", folder / "model", "-o", tmp_path / "a" / "b")
    assert (status, out) == (130, "")
    assert "Traceback" not in err
    assert not (tmp_path / "a").exists()


def test_control_characters_do_not_reach_the_terminal():
    assert printing.printable("a\x1b[31mb\x07\n") == "a�[31mb�\n"


def test_the_emotion_that_read_is_asked_for_is_in_its_table(run, folder):
    about = ("read", "A quiet evening.", "-m", folder / "model", "-v", folder / "vectors", "--top", 1)
    for emotion in ("joy", "fear", "calm"):
        status, out, _ = run(*about, "-e", emotion)
        assert status == 0
        assert re.search(rf"│ {emotion} +│", out)
    rows = re.findall(r"│ (?:joy|fear|calm) +│", run(*about)[1])
    assert len(rows) == 1


@pytest.fixture
def small_quickstart(monkeypatch, tmp_path):
    """Quickstart with a tiny model and vectors in the place of the embedded ones, and an empty cache."""
    model = tiny_model(tiny_config(max_position_embeddings=1024))
    monkeypatch.setattr(embedded, "load", lambda dtype=None: (model, tiny_tokenizer()))
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "cache"))
    emosteer.EmotionVectors.random(model, list(quickstart.TONES), seed=1).save_pretrained(tmp_path / "shipped")
    monkeypatch.setattr(quickstart, "shipped_folder", lambda _: tmp_path / "shipped")
    return tmp_path / "cache"


def test_quickstart_takes_the_shipped_vectors(run, small_quickstart, monkeypatch):
    monkeypatch.setattr(emosteer, "extract", None, raising=False)
    status, out, _ = run("quickstart", "--max-new-tokens", 4, "--json")
    told = json.loads(out)
    assert status == 0
    assert [answer["emotion"] for answer in told["answers"]] == [None, "joy", "sadness", "anger", "fear", "calm"]
    assert told["answers"][0]["cost"] == 0
    assert str(small_quickstart.parent / "shipped") in told["python"]
    assert not small_quickstart.exists()


def test_quickstart_builds_vectors_into_the_cache_if_asked(run, small_quickstart):
    status, out, _ = run("quickstart", "--build", "--max-new-tokens", 4, "--json")
    assert status == 0
    (file,) = small_quickstart.glob("vectors/*/vectors.safetensors")
    assert str(file.parent) in json.loads(out)["python"]


def test_quickstart_on_another_model_builds_its_vectors_once(run, small_quickstart, monkeypatch, tmp_path):
    tiny_model(tiny_config(max_position_embeddings=1024)).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    ask = ("quickstart", "--model", tmp_path / "model", "--max-new-tokens", 4, "--json")
    status, first, _ = run(*ask)
    assert status == 0
    (file,) = small_quickstart.glob("vectors/llama-*/vectors.safetensors")
    monkeypatch.setattr(emosteer, "extract", None, raising=False)
    status, again, _ = run(*ask)
    assert (status, again) == (0, first)
    assert json.loads(first)["model"] == str(tmp_path / "model")
    assert str(file.parent) in json.loads(first)["python"]


def test_quickstart_says_what_to_do_where_no_vectors_are_shipped(run, monkeypatch, tmp_path):
    monkeypatch.setattr("emosteer.vectors.shipped._PACKAGE", tmp_path / "emosteer")
    status, out, err = run("quickstart")
    assert (status, out) == (1, "")
    assert one_line(err)
    assert "pip install" in err


def test_quickstart_fits_the_terminal(run, small_quickstart, monkeypatch):
    for width in (60, 140):
        monkeypatch.setattr(printing, "out", Console(width=width))
        status, out, _ = run("quickstart", "What is new?", "--max-new-tokens", 4)
        tops = [line for line in out.splitlines() if "─ plain ─" in line]
        assert status == 0
        assert ("joy" in tops[0]) == (width == 140)  # side by side, or one below the other
        assert max(map(len, out.splitlines())) <= width
        assert "SteeredModel.from_pretrained" in out


@pytest.mark.slow
@pytest.mark.embedded
def test_quickstart_on_the_real_model_in_a_process_of_its_own():
    done = subprocess.run(
        [sys.executable, "-m", "emosteer", "quickstart", "--max-new-tokens", "12", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    told = json.loads(done.stdout)
    texts = [answer["text"] for answer in told["answers"]]
    assert done.stderr == ""  # no bars, no chatter where there is no terminal
    assert len(set(texts)) == 6
    assert all(0 < answer["nats_per_token"] < 10 for answer in told["answers"])
