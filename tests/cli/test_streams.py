"""Standard input, output and error in whatever state a caller leaves them."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import emosteer
from emosteer.cli import printing, streams
from tests.conftest import small_concepts, tiny_config, tiny_model, tiny_tokenizer

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
TEXT = "so schön — 気分 🙂"


class Stream(io.TextIOWrapper):
    """A stream of one encoding, whose bytes can be looked at."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict")

    def bytes(self) -> bytes:
        self.flush()
        return self.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "gbk", "utf-8"])
def test_json_is_lossless_whatever_the_stream_can_hold(monkeypatch, encoding):
    stream = Stream(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    streams.prepare()
    data = {"text": TEXT, "keys äöü": ["\x9b2J", "\u2028", "é"]}
    printing.print_json(data)
    written = stream.bytes()
    assert written.isascii() == (encoding != "utf-8")
    assert json.loads(written) == {"schema": printing.SCHEMA, **data}
    assert b"\x9b" not in written.replace("気分 🙂".encode(), b"")
    assert b"?" not in written


def test_a_path_in_json_is_as_the_file_system_spells_it(monkeypatch):
    stream = Stream("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    printing.print_json({"output": "café".encode().decode("ascii", "surrogateescape")})
    assert json.loads(stream.bytes())["output"] == "café"


def test_signs_that_a_stream_cannot_hold_have_an_ascii_likeness(monkeypatch):
    stream = Stream("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    streams.prepare()
    Console().print("−0.5 ± 0.2, layers 10–19 …, it’s 気")
    assert stream.bytes().decode().rstrip() == "-0.5 +- 0.2, layers 10-19 ..., it's ?"


def said(data: bytes, monkeypatch) -> str:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    return streams.read_input()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_standard_input_is_read_as_utf_8_without_its_mark_and_last_line_end(monkeypatch, mark, end):
    assert said(mark + "Schön.\r\nTwo.".encode() + end, monkeypatch) == "Schön.\nTwo."


def test_streams_that_are_closed_are_opened_and_nobody_reads_the_output(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
        monkeypatch.setattr(sys, f"__{name}__", None)
    streams.prepare()
    assert streams.read_input() == ""
    sys.stderr.write("to nobody")
    sys.stdout.write("to nobody")
    with pytest.raises(BrokenPipeError):
        streams.flush()
    streams.flush()  # what was left is gone
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model, vectors and a concept set, all tiny."""
    root = tmp_path_factory.mktemp("streams")
    model, tokenizer = tiny_model(tiny_config(max_position_embeddings=1024)), tiny_tokenizer()
    for part in (model, tokenizer):
        part.save_pretrained(root / "model")
    emosteer.extract(model, tokenizer, small_concepts(), progress=False).save_pretrained(root / "vectors")
    (root / "concepts.json").write_text(json.dumps(small_concepts().to_dict()))
    return root


def shell(script: str, folder: Path, env: dict[str, str] | None = None, stdin: bytes | None = None, dev: bool = False):
    """Run a line of sh in the folder; $E is emosteer."""
    python = f"{sys.executable} {'-X dev -W error' if dev else ''} -m emosteer"
    environment = {name: value for name, value in os.environ.items() if name not in ("LANG", *ASCII)}
    environment |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path.cwd()), "E": python, **(env or {})}
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, input=stdin, capture_output=True, check=False
    )


READ = "-m model -v vectors"


@pytest.mark.full
@pytest.mark.parametrize(
    "script",
    [
        "$E info vectors >&-",
        "$E info vectors --json >&-",
        "$E --help >&-",
        f"$E steer Hello {READ} -e joy >&-",
        f"$E read Hello. {READ} >&-",
    ],
)
def test_a_closed_output_ends_quietly(folder, script):
    done = shell(script, folder, dev=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("command", ["info vectors", "info vectors --json", "--help", f"steer Hello {READ}"])
def test_a_reader_that_leaves_ends_it_quietly(folder, command):
    done = shell(f"{{ $E {command}; echo $? >&2; }} | true", folder, dev=True)
    assert done.stderr.splitlines()[-1] in (b"0", b"1")  # 0: all was written before the reader left
    assert all(line.startswith((b"Note: ", b"Warning: ")) for line in done.stderr.splitlines()[:-1])


@pytest.mark.full
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("more", ["", "--json"])
def test_a_full_disk_is_one_line(folder, more):
    done = shell(f"$E info vectors {more} > /dev/full", folder, dev=True)
    assert (done.returncode, done.stderr) == (1, b"Error: No space left on device\n")


@pytest.mark.full
def test_closed_input_and_closed_error_are_no_trouble(folder):
    done = shell(f"$E read - {READ} <&-", folder, dev=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"Error: The text is empty.\n")
    done = shell("$E info vectors --json 2>&-", folder, dev=True)
    assert done.returncode == 0
    assert json.loads(done.stdout)["schema"] == 1
    done = shell("$E extract -m model --concepts concepts.json -o new --json 2>&- <&-", folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["output"] == "new"


@pytest.mark.full
@pytest.mark.parametrize("data", [b"\xff\xfe", b"caf\xe9", bytes(range(256))])
def test_bytes_on_standard_input_are_one_line(folder, data):
    done = shell(f"$E read - {READ}", folder, stdin=data, dev=True)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"Error: Standard input, line ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.full
def test_a_mark_on_standard_input_changes_no_reading(folder):
    plain, marked = (
        shell(f"$E read - {READ} --json", folder, stdin=mark + TEXT.encode()) for mark in (b"", b"\xef\xbb\xbf")
    )
    assert plain.returncode == 0
    assert marked.stdout == plain.stdout


@pytest.mark.full
@pytest.mark.parametrize(
    ("command", "key"),
    [
        (f"steer '{TEXT}' {READ} -e joy --max-new-tokens 3", "prompt"),
        (f"read '{TEXT}' {READ}", "tokens"),
        ("info vectors", "emotions"),
        ("extract -m model --concepts concepts.json -o nöw", "output"),
        ("export gguf vectors -e joy -o glad.gguf", "output"),
        ("export endpoint vectors -m model -o endpoint", "output"),
        ("import vectors/vectors.safetensors -m model -o ïmported", None),
        ("info nöwhere", None),
        (f"steer Hi {READ} -e jöy", None),
        ("pull ä/b", None),
        ("list --search ä", None),
    ],
)
def test_a_locale_of_ascii_is_no_trouble(folder, command, key):
    for more in ("", "--json"):
        done = shell(f"$E {command.replace('-o ', f'-o {more}x')} {more}", folder, env=ASCII, dev=True)
        assert b"Traceback" not in done.stderr, done.stderr
        assert done.stdout.isascii()
        assert (done.returncode == 0) == (key is not None), done.stderr
        if key and more:
            assert key in json.loads(done.stdout)
        if key == "prompt" and more:
            assert json.loads(done.stdout)["prompt"] == TEXT
