"""What commands say beside their results: notes, hints, legends, and what is kept when they are interrupted."""

from __future__ import annotations

import itertools
import json
import re
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import hf_hub_download
from rich.console import Console

import emosteer
from emosteer._util import progress
from emosteer.cli import loading, printing
from emosteer.vectors.types import Dose
from tests.conftest import small_concepts, tiny_config, tiny_model, tiny_tokenizer
from tests.loopback import LoopbackHub, connected


@pytest.fixture(scope="module")
def folder(tmp_path_factory, reading_vectors) -> Path:
    """A model, vectors (one emotion of three has a dose) and a concept set, all tiny."""
    root = tmp_path_factory.mktemp("words")
    model, tokenizer = tiny_model(tiny_config(max_position_embeddings=1024)), tiny_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(root / "model")
    undosed = replace(reading_vectors, extraction={})
    undosed.save_pretrained(root / "vectors")
    replace(undosed, doses={"joy": Dose(0.2, (1, 2), (0.5, 0.5))}).save_pretrained(root / "partly")
    (root / "concepts.json").write_text(json.dumps(small_concepts().to_dict()))
    return root


@pytest.fixture
def steer(command_line, folder):
    return partial(command_line, "steer", "Hello there.", "-m", folder / "model", "--max-new-tokens", 3, "-v")


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_an_answer_without_a_tone_says_that_it_is_plain(steer, folder, more):
    status, out, err = steer(folder / "vectors", *more)
    assert status == 0
    assert out
    assert err.endswith("Note: No tone was given, so the plain model has answered. For a tone: -e joy=0.8\n")
    assert ("The answer was cut" in err) == (not more)  # JSON has the reason


@pytest.mark.filterwarnings("always:Not calibrated")
@pytest.mark.parametrize(
    ("vectors", "tones", "lacking"),
    [
        ("vectors", ["joy"], "joy"),
        ("vectors", ["calm", "joy=0.1"], "joy, calm"),
        ("partly", ["joy"], None),
        ("partly", ["joy", "fear"], "fear"),
        ("partly", ["joy", "fear=0"], None),
    ],
)
def test_a_fallback_dose_is_told_once(steer, folder, vectors, tones, lacking):
    status, _, err = steer(folder / vectors, *(part for tone in tones for part in ("-e", tone)))
    assert status == 0
    notes = [line for line in err.splitlines() if "The answer was cut" not in line]
    assert len(notes) == (lacking is not None)
    assert not notes or notes[0].startswith(f"Warning: Not calibrated: {lacking}. ")


@pytest.mark.filterwarnings("always:Not calibrated")
def test_the_exports_of_a_tone_tell_it_too(command_line, folder, tmp_path):
    for what, more in (("gguf", ()), ("baked", ("-m", folder / "model"))):
        status, _, err = command_line("export", what, folder / "partly", "-e", "fear", "-o", tmp_path / what, *more)
        assert status == 0 or "bias" in err  # an architecture without one cannot be baked
        assert "Not calibrated: fear." in err or status == 1


@pytest.mark.parametrize("twice", [("joy=.5", "joy=.8"), ("joy", "fear", "joy"), ("joy=0.5", "joy = 0.5")])
@pytest.mark.parametrize("command", ["steer", "gguf"])
def test_an_emotion_given_twice_is_refused(command_line, steer, folder, tmp_path, twice, command):
    tone = [part for each in twice for part in ("-e", each)]
    call = steer if command == "steer" else partial(command_line, "export", "gguf", "-o", tmp_path / "new")
    status, out, err = call(folder / "vectors", *tone)
    assert (status, out) == (1, "")
    assert err.startswith("Error: joy is given twice, with ")
    assert err.count("\n") == 1


def test_an_empty_list_is_not_all(command_line, folder, tmp_path):
    about = ("-m", folder / "model", "--concepts", folder / "concepts.json", "-o", tmp_path / "new")
    for option in ("--emotions", "--layers"):
        assert command_line("extract", *about, option, "")[0] == 1
    assert not (tmp_path / "new").exists()


def test_the_hint_for_forgotten_vectors_is_a_command_that_works(command_line):
    err = command_line("steer", "Hi", "-m", "user/model")[2]
    assert "emosteer extract --model user/model --output my-vectors" in err


def test_a_misspelt_path_names_what_there_is(command_line, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("vectors/smollm2-en", "vectors/gemma-en", "models/qwen3"):
        Path(name).mkdir(parents=True)
    for asked, found in [
        ("vectors/smol", "smollm2-en."),
        ("vectors/smollm3-en", "smollm2-en"),
        ("vectors/x", "gemma-en, smollm2-en."),
        ("vector", "vectors."),
    ]:
        err = command_line("info", asked)[2]
        assert f"there is no {Path(asked).name}, but" in err
        assert found in err
        assert "emosteer pull" not in err
    err = command_line("steer", "Hi", "-e", "joy", "-m", "models/qwen", "-v", folder / "vectors")[2]
    assert "In the folder models there is no qwen, but qwen3." in err
    assert "emosteer pull user/name" in command_line("info", "user/name")[2]


def test_the_plus_minus_of_a_reading_is_1_96_of_the_uncertainty_in_json(command_line, folder, monkeypatch):
    monkeypatch.setattr(printing, "out", Console(width=120))
    about = ("read", "A quiet evening.", "-m", folder / "model", "-v", folder / "vectors")
    told = json.loads(command_line(*about, "--json")[1])
    out = command_line(*about)[1]
    for name, error in told["uncertainty"].items():
        (shown,) = re.findall(rf"{name} +│ [-+\d.]+ +│ ([\d.]+)", out)
        assert float(shown) == pytest.approx(1.96 * error, abs=0.006)
    assert "1.96 standard errors" in out
    assert "± (95 %)" in out


def test_info_says_what_its_columns_are(command_line, folder, monkeypatch):
    monkeypatch.setattr(printing, "out", Console(width=200))
    out = command_line("info", folder / "partly")[1]
    for word in ("Cost: ", "Hit rate: ", "Stability: "):
        assert word in out


def test_the_card_of_vectors_without_doses_speaks_of_no_dose_in_its_table(folder):
    cards = {name: (folder / name / "README.md").read_text() for name in ("vectors", "partly")}
    assert "Strength one is emosteer's fallback dose" in cards["vectors"]
    assert "the dose that the table gives" not in cards["vectors"]
    assert "the dose that the table gives, or where it names none, emosteer's fallback dose" in cards["partly"]


# Interrupted


@pytest.fixture
def interrupted(monkeypatch, tmp_path):
    """Ctrl-C once so many batches of answers are there."""
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(emosteer, "calibrate", partial(emosteer.calibrate, prompts=["Hm?", "So?"]), raising=False)

    def after(batches: int) -> None:
        from emosteer.eval import sampling

        answer, left = sampling._answer, itertools.count(batches, -1)

        def interrupting(*args):
            if not next(left):
                raise KeyboardInterrupt
            return answer(*args)

        monkeypatch.setattr(sampling, "_answer", interrupting)

    return after


@pytest.mark.full
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(command_line, folder, tmp_path, interrupted):
    command = (
        *("extract", "-m", folder / "model", "--concepts", folder / "concepts.json"),
        *("-o", tmp_path / "new", "--emotions", "joy,calm", "--calibrate"),
    )
    interrupted(3)  # the first answers are those of the quick calibration, which are not kept
    status, out, err = command_line(*command)
    answers = tmp_path / "cache" / "answers"
    assert (status, out) == (130, "")
    assert err == (
        f"Interrupted: Finished answers are kept in {answers}; the same command reads anew and goes on there.\n"
    )
    assert len(list(answers.iterdir())) == 2
    assert not (tmp_path / "new").exists()


def test_ctrl_c_while_reading_says_that_nothing_was_written(command_line, folder, tmp_path, monkeypatch):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(emosteer, "extract", interrupt, raising=False)
    status, _, err = command_line("extract", "-m", folder / "model", "-o", tmp_path / "new")
    assert (status, err) == (130, "Interrupted: Nothing was written; the same command starts anew.\n")


def test_ctrl_c_in_calibrate_leaves_the_vectors_as_they_were(command_line, folder, tmp_path, interrupted):
    before = {file.name: file.read_bytes() for file in (folder / "vectors").iterdir()}
    interrupted(1)
    status, _, err = command_line("calibrate", folder / "vectors", "-m", folder / "model", "--emotions", "joy")
    assert status == 130
    assert err.startswith("Interrupted: Finished answers are kept in ")
    assert err.endswith("the same command goes on from there.\n")
    assert {file.name: file.read_bytes() for file in (folder / "vectors").iterdir()} == before


# Long work


@pytest.fixture
def running(monkeypatch):
    """A clock of which every look takes a minute."""
    times = itertools.count(0, 60)
    monkeypatch.setattr(progress, "clock", lambda: next(times))


def test_a_calibration_counts_all_its_answers_as_one(folder, running, capsys):
    model, tokenizer = tiny_model(), tiny_tokenizer()
    vectors = emosteer.EmotionVectors.from_pretrained(folder / "vectors")
    vectors = replace(vectors, doses={"joy": Dose(0.05, (1,), (1.0,), divergence=0.4)})
    steered = emosteer.SteeredModel(model, tokenizer, vectors)
    found = emosteer.calibrate(steered, emotions=["joy"], prompts=["Hm?", "So?", "And?"])
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Answering")]
    n = found.about["n_answers"]
    counts = [tuple(map(int, re.findall(r"(\d+) (?:prompts|done|left)", line))) for line in told]
    assert len(told) > 2
    assert {total for total, _, _ in counts} == {n}
    assert all(done + left == n for _, done, left in counts)
    assert all(re.search(r", about .*(hour|minute)s? to go$", line) for line in told)


@pytest.mark.full
def test_a_calibration_that_shall_be_silent_is(folder, running, capsys):
    vectors = emosteer.EmotionVectors.from_pretrained(folder / "vectors")
    steered = emosteer.SteeredModel(tiny_model(), tiny_tokenizer(), vectors)
    emosteer.calibrate(steered, emotions=["joy"], prompts=["Hm?", "So?"], progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_log_is_told_how_much_of_a_model_has_come(tmp_path, running, capsys, monkeypatch):
    monkeypatch.setattr(loading, "PACE", 0.01)
    monkeypatch.setattr(loading, "MB", 1000)
    looked = threading.Event()
    advance = progress.Meter.advance
    monkeypatch.setattr(progress.Meter, "advance", lambda *a, **k: (advance(*a, **k), looked.set())[0])
    with LoopbackHub(lfs_threshold=9_000) as site, connected(site, tmp_path / "home"):
        site.create("org/model", {"config.json": b"x" * 2_000, "model.safetensors": b"x" * 5_000})
        with loading.loading("org/model"):
            for name in ("config.json", "model.safetensors"):
                looked.wait(20)
                looked.clear()
                hf_hub_download("org/model", name)
            looked.wait(20)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("Fetching org/model, 5 MB: ") for line in lines)
    assert lines[0] == "Fetching org/model, 5 MB: 0 done, 5 left"


def test_a_model_that_is_here_is_loaded_without_a_word(folder, capsys):
    with loading.loading(str(folder / "model")):
        assert not [thread for thread in threading.enumerate() if thread.name == "loading"]
    assert capsys.readouterr() == ("", "")
