"""`emosteer eval steering` on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

import emosteer
from emosteer.errors import InputError
from emosteer.vectors.measured import rounded
from emosteer.vectors.records import Record, put
from tests.conftest import small_concepts, tiny_model, tiny_tokenizer

FILES = {"steering.json", "dose_response.png", "confusion.png", "tone_and_cost.png", "cache"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model and vectors on disk, both tiny."""
    root = tmp_path_factory.mktemp("eval")
    model = tiny_model()
    model.save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    emosteer.EmotionVectors.random(model, ["joy", "anger", "calm"]).save_pretrained(root / "vectors")
    return root


@pytest.fixture
def run(command_line, folder):
    """Run it in this process → exit status, standard output, standard error."""
    return partial(
        command_line, "eval", "steering", "-m", folder / "model", "-v", folder / "vectors", "--ways", "additive,natural"
    )


def test_help_states_the_grid(run):
    status, out, _ = run("--help")
    assert status == 0
    told = " ".join(out.split())  # wherever the terminal's width breaks it
    assert all(words in told for words in ("24 held-out prompts", "--full", "--cache", "5,000 answers"))


def test_it_writes_the_report_and_goes_on_from_its_cache(run, tmp_path, monkeypatch):
    status, out, _ = run("-o", tmp_path / "new", "--n-prompts", 2, "--json")
    told = json.loads(out)
    assert status == 0
    assert told["schema"] == 1
    assert told["about"]["n_answers"] == 2 * 4 + 2 * 3 * 4 * 2 + 2 * 3 * 2 * 2 + 2 * 2
    assert told["emotions"] == ["joy", "anger", "calm"]
    assert {file.name for file in (tmp_path / "new").iterdir()} == FILES
    assert json.loads((tmp_path / "new" / "steering.json").read_text()) == told
    monkeypatch.setattr(emosteer.SteeredModel, "generate", None)  # the second time nothing is generated
    status, out, _ = run("-o", tmp_path / "new", "--n-prompts", 2)
    assert status == 0
    assert "additive, strength 1" in out
    assert str(tmp_path / "new" / "steering.json") in out.replace("\n", "")


@pytest.mark.slow
def test_what_was_measured_goes_into_the_file_and_the_card_is_written_anew(run, folder, tmp_path):
    vectors = tmp_path / "mine"
    shutil.copytree(folder / "vectors", vectors)
    halves = emosteer.EmotionVectors.from_pretrained(vectors)
    halves.save_pretrained(vectors, dtype="float16")
    before = load_file(vectors / "vectors.safetensors")
    card = vectors / "README.md"
    card.write_text(card.read_text() + "\nMy own words.\n")
    arguments = ("-o", tmp_path / "new", "--emotions", "joy", "--strengths", "1", "-v", vectors, "--card")
    for prompts in (2, 3):
        status, out, err = run(*arguments, "--n-prompts", prompts, "--json")
        assert status == 0, err
        told = {(c["way"], c["emotion"], c["control"]): c for c in json.loads(out)["cells"] if c["strength"] == 1.0}
        loaded = emosteer.EmotionVectors.from_pretrained(vectors)
        held = loaded.measured["steering"]
        assert (held["n_prompts"], held["strength"], held["judges"]) == (
            prompts,
            1.0,
            json.loads(out)["about"]["judges"],
        )
        (additive, _) = held["ways"]
        of_joy = told["additive", "joy", None]
        assert additive["emotions"]["joy"]["n"] == of_joy["n"] == prompts
        assert additive["emotions"]["joy"]["cost"] == round(of_joy["text"]["cost"]["value"], 4)
        for judge, heard in of_joy["judged"].items():
            assert additive["hit_rate"][judge] == {name: round(end, 4) for name, end in heard["hit"].items()}
        assert {one["control"] for one in held["controls"]} == {
            "unsteered",
            "random",
            "shuffled",
            "flipped",
            "prompt_only",
        }
        text = card.read_text()
        assert text.count("## What strength 1 does") == text.count("My own words.") == 1
        assert f"on up to {prompts} held-out prompts" in text
        assert "](dose_response.png)" in text
        assert (vectors / "dose_response.png").read_bytes() == (tmp_path / "new" / "dose_response.png").read_bytes()
        beside = json.loads((vectors / "steering.json").read_text())
        assert beside == rounded(json.loads((tmp_path / "new" / "steering.json").read_text()))
        after = load_file(vectors / "vectors.safetensors")
        assert after.keys() == before.keys()
        assert all(after[name].dtype == before[name].dtype and after[name].equal(before[name]) for name in before)
    loaded.save_pretrained(vectors)
    assert card.read_text() == text


def test_an_interrupt_leaves_the_folder_as_it_was(run, folder, tmp_path, monkeypatch):
    vectors = tmp_path / "mine"
    shutil.copytree(folder / "vectors", vectors)
    before = {file.name: file.read_bytes() for file in vectors.iterdir()}
    replace, done = Path.replace, []

    def stopped(self, target):
        done.append(target)
        if len(done) == 6:  # the file itself is there already, its config and its card are not
            raise KeyboardInterrupt
        return replace(self, target)

    arguments = ("-o", tmp_path / "new", "--emotions", "joy", "--strengths", "1", "-v", vectors, "--n-prompts", 1)
    assert run(*arguments)[0] == 0
    record = Record.load(tmp_path / "new" / "steering.json")
    monkeypatch.setattr(Path, "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        put(vectors, [record])
    assert {file.name: file.read_bytes() for file in vectors.iterdir()} == before
    assert len(done) > 6  # what was there was put back


def test_what_is_of_other_vectors_or_no_report_is_an_error_and_changes_nothing(run, folder, tmp_path):
    vectors = tmp_path / "mine"
    shutil.copytree(folder / "vectors", vectors)
    assert run("-o", tmp_path, "--emotions", "joy", "--strengths", "1", "--n-prompts", 1)[0] == 0
    report = json.loads((tmp_path / "steering.json").read_text())
    before = {file.name: file.read_bytes() for file in vectors.iterdir()}
    emosteer.EmotionVectors.from_pretrained(vectors).select(["anger"]).save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match="is not of these vectors"):
        put(tmp_path / "other", [Record.load(tmp_path / "steering.json")])
    for wrong in ({}, [], {**report, "cells": None}, {**report, "about": {}}, {**report, "ways": [{"way": "x"}]}, 7):
        (tmp_path / "steering.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="cannot be read as a report"):
            Record.load(tmp_path / "steering.json")
    for name in ("nowhere/steering.json", "calibration.json"):
        with pytest.raises(InputError):
            Record.load(tmp_path / name)
    (vectors / "README.md").write_text("---\na: [\n---\n")
    status, out, err = run("-o", tmp_path / "new", "-v", vectors, "--card")
    assert (status, out) == (1, "")
    assert "front matter of the card" in err
    assert {**before, "README.md": b"---\na: [\n---\n"} == {file.name: file.read_bytes() for file in vectors.iterdir()}


@pytest.mark.slow
def test_extracting_with_what_was_measured_gives_the_same_folder(run, command_line, folder, tmp_path):
    """As `make vectors` does: from the reports that stand in the folder, byte for byte."""
    concepts = tmp_path / "small.json"
    concepts.write_text(json.dumps(small_concepts().to_dict()))
    output = tmp_path / "mine"
    made = ("extract", "-m", folder / "model", "--concepts", concepts)
    assert command_line(*made, "-o", output)[0] == 0
    plain = (output / "README.md").read_bytes()
    status, _, err = run("-o", tmp_path / "new", "-v", output, "--strengths", "1", "--n-prompts", 1, "--card")
    assert status == 0, err
    measured = {file.name: file.read_bytes() for file in output.iterdir()}
    assert measured["README.md"] != plain
    for target in (output, tmp_path / "again"):
        status, _, err = command_line(*made, "-o", target, "--measured", output / "steering.json")
        assert status == 0, err
        assert {file.name: file.read_bytes() for file in target.iterdir()} == measured
    status, out, err = command_line(*made, "-o", tmp_path / "bad", "--measured", output / "config.json")
    assert (status, out) == (1, "")
    assert "is no report on vectors" in " ".join(err.split())
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize(
    ("given", "message"), [(("--strengths", "much"), "does not name"), (("-v", "nowhere", "--card"), "no card")]
)
def test_what_cannot_be_measured_or_written_is_one_line(run, tmp_path, given, message):
    status, out, err = run("-o", tmp_path / "new", *given)
    assert (status, out) == (1, "")
    assert message in " ".join(err.split())


def test_full_is_everything_and_may_be_narrowed(run, tmp_path, monkeypatch):
    asked = {}

    def stopped(_steered, **options):
        asked.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr("emosteer.eval.steering.evaluation.evaluate_steering", stopped)
    status, out, err = run(
        *("-o", tmp_path / "new", "--full", "--seeds", 2, "--emotions", "joy, calm", "--cache", tmp_path),
        *("--language", "zh"),
    )
    assert (status, out) == (130, "")
    assert "Traceback" not in err
    assert {name: asked[name] for name in ("n_prompts", "seeds", "emotions", "cache", "language")} == {
        "n_prompts": 60,
        "seeds": 2,
        "emotions": ["joy", "calm"],
        "cache": tmp_path,
        "language": "zh",
    }


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-o", "{new}", "--emotions", "rage"], "no emotion 'rage'"),
        (["-o", "{new}", "--judge", "nobody/at-all"], "nobody/at-all"),
        (["-o", "{new}", "--n-prompts", "61"], "Give 1 to 60 prompts"),
        (["-o", "{new}", "--language", "xx"], "no prompts in 'xx'"),
        (["-o", "{file}/deep"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, tmp_path, args, says):
    (tmp_path / "file").write_text("")
    status, out, err = run(*(arg.format(new=tmp_path / "new", file=tmp_path / "file") for arg in args))
    assert (status, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert says in err
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
@pytest.mark.embedded
def test_on_the_real_model_in_a_process_of_its_own(tmp_path):
    args = [
        "eval",
        "steering",
        "-o",
        str(tmp_path),
        "--emotions",
        "sadness",
        "--n-prompts",
        "2",
        "--ways",
        "additive",
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "emosteer", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    told = json.loads(done.stdout)
    assert done.stderr == ""
    cells = {(c["way"], c["emotion"], c["strength"], c["control"]): c for c in told["cells"]}
    heard = {key: cell["judged"]["goemotions"]["probability"]["value"] for key, cell in cells.items()}
    assert heard["additive", "sadness", 1.0, None] > heard["", "sadness", 0.0, "unsteered"]
    assert cells["additive", None, 1.0, None]["text"]["cost"]["value"] > 0
    assert {file.name for file in tmp_path.iterdir()} == FILES


# `emosteer eval alignment`.


@pytest.fixture
def align(command_line, folder):
    return partial(command_line, "eval", "alignment", "-m", folder / "model", "-v", folder / "vectors")


@pytest.fixture
def ratings(tmp_path) -> Path:
    """A file of made-up ratings with columns of its own: the words of the concept set, rated as their emotion."""
    concepts = emosteer.ConceptSet.load("en")
    rows = {
        word: (5 + 3 * emotion.valence, 5 + 3 * emotion.arousal)
        for emotion in concepts.concepts.values()
        if emotion.valence is not None
        for word in emotion.texts["en"].words[:5]
    }
    file = tmp_path / "mine.csv"
    file.write_text("Term,V,A\n" + "".join(f"{word},{v:.3f},{a:.3f}\n" for word, (v, a) in rows.items()))
    return file


@pytest.mark.slow
def test_alignment_writes_its_report(align, ratings, tmp_path):
    output = tmp_path / "new"
    described = f"{ratings},language=en,word=Term,valence=V,arousal=A,scale=1:9,name=Mine"
    options = ("-o", output, "--norms", described, "--permutations", 100, "--cache", tmp_path / "cache")
    status, out, _ = align(*options, "--json")
    told = json.loads(out)
    assert status == 0
    assert told == json.loads((output / "alignment.json").read_text())
    assert told["words"][0]["norms"] == "Mine"
    assert {"alignment.json", "alignment.html", "alignment_circumplex.png"} <= {f.name for f in output.iterdir()}
    assert list((tmp_path / "cache").iterdir())
    status, out, _ = align(*options)
    assert status == 0
    assert "Mine" in out
    assert "p = " in out or "p" in out.split()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--norms", "nowhere.csv"), "nowhere.csv"),
        (("--languages", "xx"), "no concept set 'xx'"),
        (("--categories", "nowhere.csv"), "nowhere.csv"),
        (("--card", "-v", "nowhere"), "no card to write into"),
    ],
)
def test_alignment_says_what_is_wrong_and_writes_nothing(align, tmp_path, options, message):
    status, _, told = align("-o", tmp_path / "new", *options)
    assert status == 1
    assert message in told.replace("\n", " ")
    assert "Traceback" not in told
    assert not (tmp_path / "new").exists()
