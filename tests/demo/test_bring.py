"""Bring your own: what a visitor may ask for, what is refused, what is said meanwhile."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import emosteer
from emosteer.demo import asking, bring
from emosteer.demo.asking import AskFirst, checked_concepts, checked_name, checked_size, languages, read_upload
from emosteer.demo.pairs import Concepts, Pair
from emosteer.demo.studio import Studio
from emosteer.demo.work import Step
from emosteer.errors import ConceptError, FormatError, IncompatibleModelError, InputError
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer
from tests.hub.hostile import repositories

GIGA = 10**9


class Loads:
    """A studio that loads nothing and remembers what was asked of it."""

    def __init__(self, first: Pair, vectors=None, error: Exception | None = None) -> None:
        self.first, self.vectors, self.error = first, vectors, error
        self.asked: list[tuple[Pair, object]] = []

    def has(self, model: str) -> bool:
        return model == self.first.model

    def load(self, pair, given=None):
        self.asked.append((pair, given))
        yield Step("Reading <b>", 0.25)
        if self.error:
            raise self.error

    def get(self, _pair):
        return self


@pytest.fixture
def studio():
    return Loads(Pair())


@pytest.fixture
def file(tmp_path, vectors):
    vectors.save_pretrained(tmp_path)
    return tmp_path / "vectors.safetensors"


def tab(studio, size: int | None = 5 * 10**6) -> bring.Bring:
    return bring.Bring(studio, lambda _model: size)


# ---------------------------------------------------------------------------------------------- what may be asked for


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../secrets",
        "./vectors",
        "~/x/y",
        "tests/golden",
        "a/b.gguf",
        "a/b/c",
        "C:\\x",
        "x\ny",
        "<b>",
    ],
)
def test_a_path_from_the_page_is_refused(name, studio):
    for what in ("model", "vectors"):
        with pytest.raises(InputError, match="on the Hub"):
            checked_name(name, what)
    *_, last = tab(studio).load(Pair(), name or "..", "user/vectors", None, True)
    assert "role='alert'" in last[1]
    assert "<b>" not in last[1]
    assert studio.asked == []


def test_a_file_of_the_server_is_no_concept_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text("{}")
    for language in ("mine.json", "/etc/passwd", "xx"):
        with pytest.raises(ConceptError, match="no built-in concept set"):
            checked_concepts(language, [])
    with pytest.raises(ConceptError, match="hiraeth"):
        checked_concepts("en", ["hiraeth"])
    assert checked_concepts("de", ["joy", "fear"]).load().emotions == ("joy", "fear")
    assert {code for _, code in languages()} == set(asking.LANGUAGES)


def test_names_on_the_hub_are_taken():
    assert checked_name(" user/model-1.5 ", "model") == "user/model-1.5"
    assert checked_name("gpt2", "model") == "gpt2"
    with pytest.raises(InputError):
        checked_name("gpt2", "vectors")


@pytest.mark.parametrize(
    ("size", "anyway", "error"),
    [
        (999 * 10**6, False, None),
        (GIGA + 1, False, AskFirst),
        (GIGA + 1, True, None),
        (None, False, AskFirst),
        (None, True, None),
        (8 * GIGA + 1, True, InputError),
    ],
)
def test_size_is_told_asked_about_and_refused(size, anyway, error, studio):
    steps = list(tab(studio, size).load(Pair(), "user/big", "user/vectors", None, anyway))
    if error is None:
        assert checked_size("user/big", lambda _: size, anyway) == ("of unknown size" if size is None else "1.0 GB")
        assert steps[-1][0] == Pair("user/big", "user/vectors")
        return
    with pytest.raises(error):
        checked_size("user/big", lambda _: size, anyway)
    assert "role='alert'" in steps[-1][1]
    assert steps[-1][2].get("visible", False) is (error is AskFirst)
    assert studio.asked == []


# -------------------------------------------------------------------------------------------------- files of visitors


def test_a_file_is_read_once_and_known_by_its_bytes(file, studio, vectors):
    read, digest = read_upload(str(file))
    assert read.emotions == vectors.emotions
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    first, second = (list(tab(studio).load(Pair(), "", "", str(file), False))[-1][0] for _ in range(2))
    assert first == second == Pair("embedded", "vectors.safetensors", digest)
    assert studio.asked[0][1].emotions == vectors.emotions
    file.unlink()  # gradio's copy may go
    assert bool((studio.asked[0][1].directions["joy"] == vectors.directions["joy"]).all())


HOSTILE = [one for one in repositories() if one.said and one.files.get("vectors.safetensors")]


@pytest.mark.parametrize("one", HOSTILE[:12], ids=lambda one: one.name)
def test_a_bad_file_is_refused_and_leaves_nothing(one, tmp_path, studio):
    file = tmp_path / "bad<i>.safetensors"
    file.write_bytes(one.files["vectors.safetensors"])
    if (good := _reads(file)) is not None:
        pytest.skip(f"hostile only beside other files: {good}")
    *_, last = tab(studio).load(Pair(), "", "", str(file), False)
    assert "role='alert'" in last[1]
    assert "<i>" not in last[1]
    assert str(tmp_path) not in last[1]
    assert studio.asked == []


def _reads(file: Path):
    try:
        return emosteer.EmotionVectors.from_pretrained(file)
    except emosteer.errors.EmosteerError:
        return None


def test_a_file_that_is_too_large_is_not_read(file, monkeypatch):
    monkeypatch.setattr(asking, "LARGEST_FILE", 100)
    with pytest.raises(FormatError, match=r"at most 0\.0 MB"):
        read_upload(str(file))


def test_vectors_of_another_model_are_refused_with_both_named(tmp_path, file):
    """Through a real studio: the upload is for width 32, the model wider, and its weights are not there to be read."""
    wide = tiny_model(tiny_config(hidden_size=64))
    wide.config.save_pretrained(tmp_path / "wide")
    tiny_tokenizer().save_pretrained(tmp_path / "wide")
    read, digest = read_upload(str(file))
    with pytest.raises(IncompatibleModelError, match=r"width 32.*width 64"):
        list(Studio().load(Pair(str(tmp_path / "wide"), "mine.safetensors", digest), read))


# ------------------------------------------------------------------------------------------------------ what is said


def test_steps_have_a_bar_and_are_escaped(studio):
    lines = [line for _, line, _ in tab(studio).load(Pair(), "user/model", "user/vectors", None, False)]
    assert "user/model is" in lines[0]
    assert "5.0 MB" in lines[1]
    assert "value='0.250'" in lines[2]
    assert "Reading &lt;b&gt;" in lines[2]
    assert "role='status'" in lines[3]


def test_what_goes_wrong_is_said_and_the_model_in_use_stays():
    studio = Loads(Pair(), error=IncompatibleModelError("These <b>vectors</b> are for others."))
    *_, last = tab(studio).build(Pair(), "", "en", ["joy"], False)
    assert "These &lt;b&gt;vectors&lt;/b&gt; are for others." in last[1]
    assert not isinstance(last[0], Pair)


def test_building_is_of_the_model_in_use_or_of_one_that_is_named(studio):
    for text, model in (("", "user/used"), ("user/other", "user/other")):
        *steps, last = tab(studio).build(Pair("user/used", "a/b"), text, "de", ["joy"], False)
        wanted = Pair(model, "vectors.safetensors", concepts=Concepts("de", ("joy",)))
        assert last[0] == wanted
        assert (steps[-1][3], last[3]) == (wanted, None)
        assert wanted.place() is None  # a file of that name on the server is another


def test_the_file_in_use_loads_again_and_is_gone_afterwards(vectors):
    steps = tab(Loads(Pair(), vectors)).file(Pair())
    file = Path(next(steps)["value"])
    assert file.name == "vectors.safetensors"
    again = emosteer.EmotionVectors.from_pretrained(file)
    assert again.emotions == vectors.emotions
    assert list(steps) == []
    assert not file.parent.exists()


HOSTILE_NAME = "a'); import os; ('<i>"


@pytest.mark.parametrize(
    "pair",
    [
        Pair(),
        Pair("user/model", HOSTILE_NAME, "0"),
        Pair("user/model", "v.safetensors", concepts=Concepts("en", ("joy",))),
    ],
)
def test_the_python_is_python_and_names_are_text(pair):
    tree = ast.parse(pair.code())
    imported = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert imported == ["emosteer"]
    assert "<i>" not in bring.in_use(pair)


def test_the_model_in_use_is_called_by_a_name_that_tells_something():
    name = emosteer.embedded.MODEL_ID.split("/")[1]
    own = bring.in_use(Pair())
    assert f"{name} (comes with emosteer), with its own vectors" in own
    assert "embedded" not in own
    assert name not in bring.in_use(Pair("user/model", "user/vectors"))
    assert "user/model, with the vectors user/vectors" in bring.in_use(Pair("user/model", "user/vectors"))


def test_the_python_builds_what_the_page_built(tmp_path, monkeypatch, model, tokenizer):
    model.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    found: dict = {}
    exec(Pair("./tiny", "vectors.safetensors", concepts=Concepts("en", ("joy", "calm"))).code(), found)
    assert found["steered"].vectors.emotions == ("joy", "calm")
    exec(Pair("./tiny", "vectors").code(), found)
    assert found["steered"].vectors.emotions == ("joy", "calm")


# ---------------------------------------------------------------------------------------------------------- the page


@pytest.mark.slow
def test_what_loads_is_not_for_other_programs_and_does_not_hold_up_talking():
    """In a process of its own, since gradio leaves event loops open."""
    told = """
import json, gradio as gr
from emosteer.demo.page import build
page = build().page
events = {e.fn.__name__: (e.api_visibility, e.concurrency_id) for e in page.fns.values() if e.fn is not None}
print(json.dumps({"events": events, "kept": page.delete_cache}))
"""
    paths = os.pathsep.join(("demo", "."))
    ran = subprocess.run(
        [sys.executable, "-c", told],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
    )
    page = json.loads(ran.stdout.splitlines()[-1])
    events = page["events"]
    assert {events[name][0] for name in ("load", "build", "file", "renew")} == {"private"}
    assert events["build"][1] == "build"
    assert events["build"][1] != events["send"][1] != events["load"][1]
    assert page["kept"] == [3600, 3600]
