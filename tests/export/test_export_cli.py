"""`emosteer export …` on the command line, and what a baked checkpoint is for transformers alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import emosteer
from emosteer.errors import IncompatibleModelError, InputError
from emosteer.export import save_baked, write_gguf
from tests.conftest import tiny_model, tiny_tokenizer
from tests.oracle import added, deltas, logits_of

MIX = ("-e", "joy=1.5", "-e", "fear=-0.5")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("export")
    model = tiny_model()
    model.save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1).save_pretrained(root / "vectors")
    return root


def one_line(text: str) -> bool:
    return text.startswith("Error: ") and text.count("\n") == 1 and "Traceback" not in text


@pytest.mark.parametrize("command", ["gguf", "endpoint", "baked"])
def test_every_command_explains_itself(command_line, command):
    status, out, _ = command_line("export", command, "--help")
    assert status == 0
    assert "--json" in out
    assert ("attention sink" in out) == (command == "gguf")


def test_gguf_writes_the_file_that_python_writes(command_line, saved, tmp_path):
    status, out, _ = command_line("export", "gguf", saved / "vectors", *MIX, "-o", tmp_path / "a.gguf", "--json")
    assert status == 0
    tone = {"joy": 1.5, "fear": -0.5}
    assert json.loads(out) == {"schema": 1, "output": str(tmp_path / "a.gguf"), "layers": [1], "tone": tone}
    write_gguf(emosteer.EmotionVectors.from_pretrained(saved / "vectors"), tone, tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    status, out, _ = command_line(
        *("export", "gguf", saved / "vectors", "-e", "joy", "--layers", "2-3", "-o", tmp_path / "[red]c")
    )
    assert (status, out) == (0, f"Layers 2, 3: {tmp_path}/[red]c\n")


def test_a_point_of_valence_and_arousal_is_a_tone(command_line, tmp_path):
    vectors = "vectors/smollm2-135m-instruct-en"
    asked = ("--valence", -0.6, "--arousal", 0.8)
    status, out, _ = command_line("export", "gguf", vectors, *asked, "-o", tmp_path / "x", "--json")
    told = json.loads(out)
    assert status == 0
    assert told["layers"] == list(range(10, 20))
    assert told["tone"]["anger"] > 0 > told["tone"]["calm"]


def test_endpoint_writes_the_folder(command_line, saved, tmp_path):
    status, out, _ = command_line(
        *("export", "endpoint", saved / "vectors", "--model", "user/name", "-o", tmp_path / "e", "--json")
    )
    assert status == 0
    assert json.loads(out) == {"schema": 1, "output": str(tmp_path / "e"), "model": "user/name"}
    assert (tmp_path / "e" / "handler.py").is_file()
    status, out, _ = command_line(
        *("export", "endpoint", saved / "vectors", "--model", saved / "model", "-o", tmp_path / "f")
    )
    assert (status, "is in the folder" in out) == (0, True)
    assert (tmp_path / "f" / "model" / "config.json").is_file()


def test_a_baked_checkpoint_says_what_hooks_at_every_token_say(command_line, saved, tmp_path):
    """The oracle adds by hand at the first token too, where a bias acts and steering does not."""
    asked = ("export", "baked", saved / "vectors", *MIX, "--model", saved / "model", "-o", tmp_path / "glad")
    status, out, _ = command_line(*asked, "--json")
    assert (status, json.loads(out)["layers"]) == (0, [1])
    ids = tiny_tokenizer()("How was your morning?", return_tensors="pt")["input_ids"]
    model, tone = tiny_model(), {"joy": 1.5, "fear": -0.5}
    vectors = emosteer.EmotionVectors.from_pretrained(saved / "vectors")
    answer = ids
    with added(model.model.layers, deltas(vectors, tone), since=0), torch.no_grad():
        steered = logits_of(model, ids)
        for _ in range(20):
            answer = torch.cat([answer, model(input_ids=answer).logits[:, -1:].argmax(-1)], dim=1)
    plain = model.generate(ids, do_sample=False, max_new_tokens=20)
    script = (
        "import sys, torch; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "model, ids = AutoModelForCausalLM.from_pretrained(sys.argv[1]), torch.tensor(eval(sys.argv[2]))\n"
        "assert AutoTokenizer.from_pretrained(sys.argv[1])('How was your morning?')['input_ids'] == ids[0].tolist()\n"
        "said = model.generate(ids, do_sample=False, max_new_tokens=20)\n"
        "with torch.no_grad(): logits = model(input_ids=ids).logits\n"
        "torch.save((said, logits), sys.argv[3]); assert 'emosteer' not in sys.modules"
    )
    place = tmp_path / "said.pt"
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "glad", str(ids.tolist()), place], check=True, capture_output=True
    )
    said, logits = torch.load(place)
    torch.testing.assert_close(logits, steered, atol=1e-5, rtol=1e-5)
    assert said.tolist() == answer.tolist() != plain.tolist()


def test_the_note_says_what_was_baked_and_how_much(saved, model, tokenizer, tmp_path):
    vectors = emosteer.EmotionVectors.from_pretrained(saved / "vectors")
    save_baked(model, tokenizer, vectors, {"joy": 0.8, "fear": -0.5}, tmp_path / "new" / "x", layers=[1, 2])
    note = (tmp_path / "new" / "x" / "README.md").read_text()
    assert "| joy | 0.8 | 0.25 (fallback, not calibrated) | 1, 2 |" in note
    assert "| fear | -0.5 |" in note
    assert "biases of the blocks 1, 2." in note
    assert "base_model:" not in note
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]
    shipped = emosteer.EmotionVectors.from_pretrained("vectors/smollm2-135m-instruct-en")
    from emosteer.export.checkpoint import _note

    model.config.emosteer_baked = [{"layers": [12]}]
    try:
        text = _note(model, shipped, {"joy": 1.0}, None)
    finally:
        del model.config.emosteer_baked
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct\n" in text
    assert f"| joy | 1 | {shipped.doses['joy'].dose:.4g} (calibrated) | 10, 11, 12," in text


def test_baking_that_fails_leaves_no_folder(saved, tmp_path, monkeypatch):
    model, tokenizer = tiny_model(), tiny_tokenizer()
    vectors = emosteer.EmotionVectors.from_pretrained(saved / "vectors")

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(tokenizer), "save_pretrained", full)
        with pytest.raises(InputError, match="No space left"):
            save_baked(model, tokenizer, vectors, {"joy": 1.0}, tmp_path / "out")
    other = emosteer.EmotionVectors.random(tiny_model(), ["joy"])
    model.config.num_hidden_layers = 3
    model.model.layers = model.model.layers[:3]
    with pytest.raises(IncompatibleModelError):
        save_baked(model, tokenizer, other, {"joy": 1.0}, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_bad_input_is_one_clear_line(command_line, saved, tmp_path):
    vectors, model, out = saved / "vectors", saved / "model", ("-o", tmp_path / "x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for wrong in (
        ("gguf", vectors, *out),
        ("gguf", vectors, *out, "-e", "joy", "--valence", 0.5),
        ("gguf", vectors, *out, "-e", "bliss"),
        ("gguf", vectors, *out, "-e", "joy=loud"),
        ("gguf", vectors, *out, "-e", "joy=0"),
        ("gguf", vectors, *out, "-e", "joy", "--layers", "0-2"),
        ("gguf", vectors, *out, "-e", "joy", "--layers", "7"),
        ("gguf", vectors, *out, "--valence", 0.5),
        ("gguf", tmp_path / "none", *out, "-e", "joy"),
        ("gguf", vectors, "-o", tmp_path / "full", "-e", "joy"),
        ("endpoint", vectors, *out),
        ("endpoint", vectors, *out, "-m", "no such\x1b[31m model"),
        ("endpoint", vectors, "-o", tmp_path / "full", "-m", "user/name"),
        ("baked", vectors, *out, "-m", model),
        ("baked", vectors, *out, "-m", model, "-e", "bliss"),
        ("baked", vectors, *out, "-m", tmp_path / "full", "-e", "joy"),
        ("baked", vectors, "-o", tmp_path / "full", "-m", model, "-e", "joy"),
    ):
        status, said, err = command_line("export", *wrong)
        assert (status, said) == (1, ""), wrong
        assert one_line(err), err
        assert "\x1b[31m" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
