"""`emosteer calibrate`, and the doses that `emosteer extract` writes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

import emosteer
from emosteer.cli import calibrate, printing
from emosteer.errors import MissingExtraError
from tests.conftest import small_concepts, tiny_model, tiny_tokenizer

FILES = ["vectors.safetensors", "config.json", "README.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model and a concept set on disk, both tiny."""
    root = tmp_path_factory.mktemp("calibration")
    tiny_model().save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    (root / "concepts.json").write_text(json.dumps(small_concepts().to_dict()))
    return root


@pytest.fixture
def run(monkeypatch, command_line, tmp_path):
    """Run the command line in this process, with two prompts and a cache of its own → status, output, errors."""
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(emosteer, "calibrate", partial(emosteer.calibrate, prompts=["Hm?", "So?"]), raising=False)
    monkeypatch.setattr(printing, "out", Console(width=100))
    return command_line


@pytest.fixture
def extract(run, folder):
    return partial(run, "extract", "-m", folder / "model", "--concepts", folder / "concepts.json", "-o")


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_record_rebuilds_the_files_byte_for_byte(run, extract, folder, tmp_path):
    vectors, again = tmp_path / "vectors", tmp_path / "again"
    assert extract(vectors)[0] == 0
    assert sorted(contents(vectors)) == sorted(FILES)
    status, out, err = run("calibrate", vectors, "-m", folder / "model", "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert told == {**json.loads((vectors / "calibration.json").read_text()), "output": str(vectors)}
    doses = emosteer.EmotionVectors.from_pretrained(vectors).doses
    assert {name: dose.dose for name, dose in doses.items()} == {n: e["dose"] for n, e in told["emotions"].items()}
    assert extract(again, "--calibration", vectors / "calibration.json")[0] == 0
    assert contents(again) == {name: contents(vectors)[name] for name in FILES} | {
        "calibration.json": contents(vectors)["calibration.json"]
    }
    assert "it may cost up to 0.5 nats a token" in contents(again)["README.md"].decode()


def test_what_tones_did_at_other_doses_is_not_kept(run, extract, folder, tmp_path):
    vectors, measured = tmp_path / "vectors", {"steering": {"n": 1}, "alignment": {"n": 2}}
    assert extract(vectors)[0] == 0
    assert run("calibrate", vectors, "-m", folder / "model")[0] == 0
    calibrated = replace(emosteer.EmotionVectors.from_pretrained(vectors), measured=measured)
    record = emosteer.Calibration.load(vectors)
    for before, after in ((calibrated, measured), (calibrated.scale(2), {"alignment": {"n": 2}})):
        calibrate.save(before, record, vectors)
        loaded = emosteer.EmotionVectors.from_pretrained(vectors)
        assert (loaded.measured, loaded.doses) == (after, calibrated.doses)


def test_extract_refines_the_quick_doses_if_it_is_told_to(run, extract, folder, tmp_path):
    status, out, _ = extract(tmp_path / "one", "--calibrate")
    assert status == 0
    assert "stopped" in out
    status, out, _ = extract(tmp_path / "two", "--json")
    assert status == 0
    assert json.loads(out)["calibrated"] == ["joy", "fear", "calm"]
    status, told, _ = run("calibrate", tmp_path / "two", "-m", folder / "model", "-o", tmp_path / "three")
    assert status == 0
    assert contents(tmp_path / "three") == contents(tmp_path / "one")
    doses = [emosteer.EmotionVectors.from_pretrained(tmp_path / name).doses.values() for name in ("one", "two")]
    assert [{dose.calibration for dose in some} for some in doses] == [{"answers"}, {"quick"}]
    for name in ("joy", "fear", "calm"):
        assert name in told
    assert len(list((tmp_path / "cache" / "answers").iterdir())) > 3  # where an interrupted one would go on


def test_a_few_emotions_do_not_take_the_place_of_all(run, extract, folder, tmp_path):
    extract(tmp_path / "all", "--calibrate")
    before = contents(tmp_path / "all")
    options = ("-m", folder / "model", "--emotions", "joy, calm")
    status, _, err = run("calibrate", tmp_path / "all", *options)
    assert status == 1
    assert "fear too" in err
    assert contents(tmp_path / "all") == before
    assert run("calibrate", tmp_path / "all", *options, "-o", tmp_path / "few")[0] == 0
    assert set(emosteer.Calibration.load(tmp_path / "few").emotions) == {"joy", "calm"}
    assert run("calibrate", tmp_path / "few", *options)[0] == 0


def test_without_the_encoder_there_are_doses_and_no_hit_rates(run, extract, folder, tmp_path, monkeypatch):
    def missing(*_args):
        raise MissingExtraError("No encoder.")

    monkeypatch.setattr("emosteer.eval.EmbeddingJudge", missing)
    status, out, _ = extract(tmp_path / "new", "--calibrate")
    assert status == 0
    assert "No hit rates" in out
    assert emosteer.EmotionVectors.from_pretrained(tmp_path / "new").dose("joy").hit_rate is None


def test_the_language_and_the_judge_are_passed_on(run, folder, tmp_path, monkeypatch):
    seen = {}

    def stopped(_steered, **options):
        seen.update(options)
        raise KeyboardInterrupt

    emosteer.EmotionVectors.random(tiny_model(), ["joy", "calm"]).save_pretrained(tmp_path / "vectors")
    monkeypatch.setattr(emosteer, "calibrate", stopped)
    options = ("-m", folder / "model", "--language", "de", "--judge", "brighter")
    assert run("calibrate", tmp_path / "vectors", *options)[0] == 130
    assert (seen["language"], seen["judge"].name) == ("de", "brighter")


def test_why_there_are_no_hit_rates_is_told(capsys, monkeypatch):
    monkeypatch.setattr(printing, "out", Console(width=100))
    fields = dict.fromkeys(("base_model", "weights", "scope", "budget", "exponent", "windows"))
    for language, judge, says in (
        ("de", None, "No hit rates: the answers are in 'de'. Name a judge that knows it with --judge."),
        ("en", None, "No hit rates: the sentence encoder of the judge is not installed"),
        ("de", "mine", ""),
    ):
        about = {"language": language, "judge": judge}
        calibrate.print_calibration(emosteer.Calibration(layers=(1,), emotions={}, about=about, **fields))
        told = " ".join(capsys.readouterr().out.split())
        assert says in told
        assert ("No hit rates" in told) == bool(says)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["calibrate", "{nothing}"], "cannot be read"),
        pytest.param(
            ["calibrate", "{vectors}", "-m", "{model}", "--judge", "nobody/at-all"],
            "nobody/at-all",
            marks=pytest.mark.full,
        ),
        pytest.param(
            ["calibrate", "{vectors}/vectors.safetensors", "-m", "{model}"], "--output", marks=pytest.mark.full
        ),
        pytest.param(["calibrate", "{vectors}", "-m", "{model}", "--budget", "0"], "positive", marks=pytest.mark.full),
        pytest.param(["calibrate", "{vectors}", "-m", "{model}", "--emotions", "rage"], "rage", marks=pytest.mark.full),
        pytest.param(
            ["extract", "-o", "{new}", "-m", "{model}", "--calibration", "{nothing}"],
            "calibration",
            marks=pytest.mark.full,
        ),
        pytest.param(
            ["extract", "-o", "{new}", "-m", "{model}", "--calibration", "{vectors}/config.json"],
            "not a calibration",
            marks=pytest.mark.full,
        ),
        (
            ["extract", "-o", "{new}", "-m", "{model}", "--concepts", "{concepts}", "--calibration", "{other}"],
            "other directions",
        ),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(run, extract, folder, tmp_path, args, says):
    extract(tmp_path / "vectors")
    extract(tmp_path / "other", "--method", "pca", "--calibrate")
    places = {name: tmp_path / name for name in ("vectors", "other", "nothing", "new")}
    before = contents(tmp_path / "vectors")
    status, out, err = run(
        *(arg.format(model=folder / "model", concepts=folder / "concepts.json", **places) for arg in args)
    )
    assert (status, out) == (1, "")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert says in err
    assert contents(tmp_path / "vectors") == before
    assert not (tmp_path / "new").exists()
