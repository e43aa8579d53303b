"""What nobody means to give: no command ends in a traceback, and bad input is one line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.conftest import few, small_concepts, tiny_config, tiny_model, tiny_tokenizer

BYTES = "caf\udce9"  # an argument with a byte that is not UTF-8
HALF = "half \ud83d"
STEER = ("-m", "{model}", "-v", "{vectors}", "--max-new-tokens", "2")
READ = ("-m", "{model}", "-v", "{vectors}")


@pytest.fixture(scope="module")
def places(tmp_path_factory, reading_vectors) -> dict[str, Path]:
    """A model, vectors, texts and files that are none of these."""
    root = tmp_path_factory.mktemp("hostile")
    model, tokenizer = tiny_model(tiny_config(max_position_embeddings=1024)), tiny_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(root / "model")
    reading_vectors.save_pretrained(root / "vectors")
    (root / "concepts.json").write_text(json.dumps(small_concepts().to_dict()))
    (root / "empty").write_bytes(b"")
    (root / "bytes").write_bytes(bytes(range(256)) * 8)
    (root / "half.json").write_bytes(b'{"name": "\\ud83d"}')
    (root / "deep.json").write_bytes(b"[" * 100_000)
    (root / "dir").mkdir()
    return {name.partition(".")[0]: root / name for name in ("model", "vectors", "empty", "bytes", "dir")} | {
        "concepts": root / "concepts.json",
        "half": root / "half.json",
        "deep": root / "deep.json",
    }


TEXTS = [BYTES, HALF, "", " ", "\n", "\ufeff", "x" * 5_000]
FILES = ["{empty}", "{bytes}", "{half}", "{deep}", "{dir}", "{model}", BYTES, "", "x" * 5_000, "a/b", "/dev/null"]
TONES = [BYTES, "", "=", "joy=", "=1", "joy=nan", "joy=1e999", "joy=5=5", "joy=\udce9", "JOY", "joy,fear"]
LAYERS = ["", "-", "1-", "-1", "9-2", "1,,2", "99", "1-99999999999999999999", "\udce9", "1e3", "0,0"]
LISTS = ["", ",", "joy,", BYTES, "joy,joy,rage"]

CASES = [
    *(("steer", text, *STEER) for text in TEXTS),
    *(("read", text, *READ) for text in TEXTS),
    *(("steer", "Hi", "-e", tone, *STEER) for tone in TONES),
    *(("steer", "Hi", "-e", "joy", "--layers", layers, *STEER) for layers in LAYERS),
    *(("steer", "Hi", "--recipe", text, "-e", "joy", *STEER) for text in ("", BYTES)),
    *(("steer", "Hi", *STEER, f"--{name}", value) for name, value in [("valence", "nan"), ("temperature", "nan")]),
    *(("steer", "Hi", *STEER, f"--{name}", value) for name, value in [("seed", "-1"), ("seed", "9" * 30)]),
    *(("read", "Hello there.", "-e", tone, *READ) for tone in (BYTES, "", "rage")),
    *(("info", file) for file in FILES),
    *(("info", "{vectors}", "--subfolder", text) for text in (BYTES, "..")),
    *(("steer", "Hi", "-m", file, "-v", "{vectors}") for file in FILES if file not in ("{model}", "a/b")),
    *(("steer", "Hi", "-m", "{model}", "-v", file) for file in FILES),
    *(("extract", "-m", "{model}", "-o", "{new}", "--concepts", file) for file in FILES),
    *(
        ("extract", "-m", "{model}", "-o", "{new}", "--concepts", "{concepts}", option, value)
        for option, values in [
            ("--emotions", LISTS),
            ("--layers", LAYERS[:-1]),
            ("--method", ["", BYTES]),
            ("--pooling", ["", BYTES]),
            ("--calibration", FILES),
            ("--measured", FILES),
        ]
        for value in values
    ),
    *(("extract", "-m", "{model}", "-o", file) for file in ("{empty}", "/dev/null/x", "x" * 5_000)),
    *(("calibrate", file, "-m", "{model}", "-o", "{new}") for file in FILES),
    *(("calibrate", "{vectors}", "-m", "{model}", "-o", "{new}", "--emotions", names) for names in LISTS),
    *(("calibrate", "{vectors}", "-m", "{model}", "-o", "{new}", "--budget", value) for value in ("nan", "-1", "inf")),
    *(("import", file, "-m", "{model}", "-o", "{new}") for file in FILES),
    *(("import", "{bytes}", "-m", "{model}", "-o", "{new}", "-e", name) for name in (BYTES, "")),
    *(("transfer", file, "--from", "{model}", "--to", "{model}", "-o", "{new}") for file in FILES),
    *(("transfer", "{vectors}", "--from", "{model}", "--to", file, "-o", "{new}") for file in ("{empty}", BYTES)),
    *(("push", file, "user/name") for file in FILES if file != "{dir}"),
    *(("push", "{vectors}", name) for name in (BYTES, "", "a", "a/b/c")),
    *(("push", "{vectors}", "a/b", option, BYTES) for option in ("--message", "--revision", "--subfolder")),
    *(("pull", name) for name in (BYTES, "", "a", "a/b/c", "x" * 5_000)),
    *(("pull", "a/b", option, BYTES) for option in ("--revision", "--subfolder")),
    *(("list", option, BYTES) for option in ("--search", "--model")),
    *(("export", "gguf", file, "-e", "joy", "-o", "{new}") for file in FILES),
    *(("export", "gguf", "{vectors}", "-e", tone, "-o", "{new}") for tone in TONES),
    *(("export", "endpoint", file, "-o", "{new}") for file in FILES),
    *(("export", "endpoint", "{vectors}", "-o", "{new}", "-m", name) for name in (BYTES, "", "{empty}")),
    *(("export", "baked", "{vectors}", "-m", "{model}", "-o", "{new}", "-e", tone) for tone in TONES),
    *(("eval", "steering", "-m", "{model}", "-v", "{vectors}", "-o", "{new}", *more) for more in [
        ("--strengths", ""), ("--strengths", "1,x"), ("--strengths", "nan"), ("--judge", BYTES), ("--judge", ""),
        ("--judge", "{empty}"), ("--emotions", ","), ("--emotions", BYTES),
    ]),
    *(("eval", "alignment", "-m", "{model}", "-v", "{vectors}", "-o", "{new}", option, value) for option, value in [
        *(("--norms", file) for file in FILES), *(("--categories", file) for file in FILES),
        ("--languages", ""), ("--languages", "xx"), ("--languages", BYTES),
    ]),
    ("quickstart", BYTES), ("quickstart", HALF), ("quickstart", "-m", "{empty}"), ("quickstart", "-m", BYTES),
    ("demo", "-m", BYTES), ("demo", "-v", "{bytes}", "-m", "{model}", "--port", "70000"),
]  # fmt: skip

QUICK = CASES[::9]


@pytest.mark.parametrize("case", few(CASES, *QUICK), ids=lambda case: " ".join(map(ascii, case))[:80])
def test_bad_input_ends_in_one_line(command_line, places, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOSTEER_CACHE", str(tmp_path / "cache"))
    status, out, err = command_line(*(part.format(**places, new=tmp_path / "new") for part in case))
    assert "Traceback" not in err
    if status == 1:
        assert out == ""
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        err.encode()  # without half characters
    else:  # 2: what typer says of its options
        assert status == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("data", [b"\xff\xfe", b"caf\xe9", b"a\0b", bytes(range(256)), b"", b" \n", b"\xef\xbb\xbf"])
def test_bytes_that_are_no_text_on_standard_input_are_one_line(command_line, places, monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    status, out, err = command_line("read", "-", "-m", places["model"], "-v", places["vectors"])
    assert (status, out) == (1, "")
    assert err.startswith(("Error: Standard input, line ", "Error: The text is empty"))
    assert err.count("\n") == 1
