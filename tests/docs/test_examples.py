"""Every example of the README and the pages runs: Python as it stands, commands through the real command line.

A tiny random model stands in for every model that is named, and the Hub is on the loopback. What would take minutes all
the same is listed with its reason and parsed by what would run it.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationMixin

import emosteer
from emosteer import cli
from emosteer import embedded as embedded_model
from emosteer.concepts import ConceptSet
from emosteer.export import write_gguf
from emosteer.vectors import shipped
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer
from tests.docs.pages import PAGES, ROOT, blocks, commands, inline_commands
from tests.loopback import LoopbackHub, connected

SHIPPED = [f"vectors/{name}" for name in shipped.SETS.values()]
TOKENS = 8  # longest answer here
TEXTS = 4  # of each kind in a built-in concept set here

PARSED = {
    "calibrate ": "asks the model for 2,000 answers",
    "demo": "serves until it is stopped",
    "eval ": "asks for 2,000 answers, or reads thousands of words",
    "serve": "serves until it is stopped",
    "extract --output my-vectors --calibration ": "takes records of the embedded model's own vectors",
}
"""How commands begin that are only parsed, and why."""

COMPILED = {
    "evaluate_steering(": "asks the model for 2,000 answers",
    "evaluate_alignment(": "reads thousands of words",
    "emosteer.calibrate(": "asks the model for hundreds of answers",
    "OpenAI(": "asks a server",
    "client.chat.": "asks a server",
}
"""What Python blocks hold that are only compiled, and why. Their imports run, and keywords are checked."""

FOREIGN = {
    "curl": "asks a server",
    "hf": "the Hub client's own",
    "llama-server": "llama.cpp's own",
}
"""Commands of other programs."""

SHOWN = {"text": "output and diagrams", "bibtex": "the citation"}
"""Blocks that nobody runs."""


@pytest.fixture(scope="session")
def tiny():
    model = tiny_model(tiny_config(max_position_embeddings=2048))
    model.config._name_or_path = embedded_model.MODEL_ID
    return model, tiny_tokenizer()


@pytest.fixture(scope="session")
def tiny_vectors(tiny):
    vectors = emosteer.extract(*tiny, cut(ConceptSet.load("en")))
    return replace(vectors, readout=emosteer.SteeredModel(*tiny, vectors).readout)


@pytest.fixture
def workplace(tmp_path, monkeypatch, tiny, tiny_vectors):
    """A folder with the files that examples name, where a tiny model has the name of every model and is brief."""
    where = tmp_path / "workplace"
    where.mkdir()
    monkeypatch.chdir(where)
    for folder in (*SHIPPED, "my-vectors"):
        tiny_vectors.save_pretrained(folder)
    for file, emotion in (("happy.gguf", "joy"), ("sad.gguf", "sadness"), ("vectors.gguf", "joy")):
        write_gguf(tiny_vectors, {emotion: 1.0}, file)
    np.savez("vectors.npz", **{name: tiny_vectors.directions[name].numpy() for name in ("joy", "calm")})
    torch.save(tiny_vectors.directions["calm"][1], "direction.pt")
    Path("my-set.json").write_text(own_set())

    monkeypatch.setattr(embedded_model, "load", lambda dtype=None: tiny)
    monkeypatch.setattr(shipped, "_PACKAGE", where / "emosteer")  # beside it lies `vectors/`
    for part, kind in zip(tiny, (AutoModelForCausalLM, AutoTokenizer), strict=True):
        monkeypatch.setattr(kind, "from_pretrained", lambda name, *_, part=part, **__: part)
    whole, generate = ConceptSet.load, GenerationMixin.generate

    def briefly(self, *args, max_new_tokens=TOKENS, **options):
        return generate(self, *args, max_new_tokens=min(max_new_tokens, TOKENS), **options)

    monkeypatch.setattr(ConceptSet, "load", staticmethod(lambda source: cut(whole(source))))
    monkeypatch.setattr(GenerationMixin, "generate", briefly)
    with LoopbackHub() as hub, connected(hub, tmp_path / "home", token=hub.token("user")):
        yield where


def cut(concepts: ConceptSet) -> ConceptSet:
    """A concept set with a few texts of each kind."""

    def few(texts):
        return replace(
            texts, words=texts.words[:TEXTS], sentences=texts.sentences[:TEXTS], situations=texts.situations[:TEXTS]
        )

    emotions = {
        name: replace(emotion, texts={language: few(texts) for language, texts in emotion.texts.items()})
        for name, emotion in concepts.concepts.items()
    }
    neutral = {
        language: replace(texts, sentences=texts.sentences[: 3 * TEXTS]) for language, texts in concepts.neutral.items()
    }
    return replace(concepts, concepts=emotions, neutral=neutral)


def own_set() -> str:
    """The concept set that the page about them shows."""
    (block,) = (block for block in blocks(PAGES["docs/concept-sets.md"].read_text()) if block.language == "json")
    return block.code


@pytest.mark.filterwarnings("ignore::emosteer.EmosteerWarning")  # made-up vectors are uncalibrated
@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page, workplace, command_line):
    names: dict[str, object] = {"__name__": "example"}
    for block in blocks(PAGES[page].read_text()):
        where = f"{page}, line {block.line}"
        match block.language:
            case "python":
                run_python(block.code, names, where)
            case "bash":
                for words in commands(block.code):
                    run_command(words, command_line, where)
            case "json":
                json.loads(block.code)
            case language:
                assert language in SHOWN, f"{where}: nothing runs a block of {language or 'no language'}"
                assert not re.search(r"^\s*(emosteer|make|pip|python|import|from) ", block.code, re.MULTILINE), where


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_text_exist(page):
    for words in inline_commands(PAGES[page].read_text()):
        run_command(words, None, page)


def test_exceptions_are_needed():
    text = "".join(block.code for path in PAGES.values() for block in blocks(path.read_text()))
    for part in (*COMPILED, *(f"emosteer {name}" for name in PARSED), *FOREIGN):
        assert part in text, f"no example holds {part}"


def run_python(code: str, names: dict, where: str) -> None:
    tree = ast.parse(code, where)
    if any(part in code for part in COMPILED):
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(ast.Module(imports, []), where, "exec"), names)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            check_keywords(call, names, where)
    else:
        exec(compile(tree, where, "exec"), names)


def check_keywords(call: ast.Call, names: dict, where: str) -> None:
    try:
        function = eval(ast.unparse(call.func), names)
    except NameError:  # of what a block that was not run has made
        return
    if callable(function) and function is not print:
        known = inspect.signature(function).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            assert {keyword.arg for keyword in call.keywords} <= set(known), f"{where}: {ast.unparse(call)}"


def run_command(words: list[str], command_line, where: str) -> None:
    """Run a command of emosteer, or see that what another command names is there; without a `command_line`, parse."""
    program, *arguments = words
    shown = f"{where}: {' '.join(words)}"
    if program == "emosteer":
        parse(arguments, shown, in_prose=command_line is None)
        if command_line and not " ".join(arguments).startswith(tuple(PARSED)):
            status, _, error = command_line(*arguments)
            assert status == 0, f"{shown}\n{error}"
    elif program == "make":
        assert {target for target in arguments if "=" not in target} <= make_targets(), shown
    elif program == "python":
        assert arguments[0] == "-m", shown
        check_module(arguments[1:], shown)
    elif program == "pip":
        named = re.findall(r"\[([\w,]+)\]", " ".join(arguments))
        assert set(",".join(named).split(",")) - {""} <= extras(), shown
    else:
        assert program in FOREIGN, f"{shown}: neither run nor listed"


def parse(arguments: list[str], where: str, *, in_prose: bool) -> None:
    """Have the real command line parse a command without running it. The prose may name one without its arguments."""
    command, name, rest = typer.main.get_command(cli.app), "emosteer", arguments
    try:
        while hasattr(command, "commands"):
            context = command.make_context(name, rest[:1])
            name, command, rest = *command.resolve_command(context, rest[:1])[:2], rest[1:]
        command.make_context(name, rest)
    except Exception as error:  # typer keeps the classes of its errors to itself
        if not (in_prose and type(error).__name__ in {"MissingParameter", "NoArgsIsHelpError"}):
            pytest.fail(f"{where}: {error}")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def check_module(words: list[str], where: str) -> None:
    spec = importlib.util.find_spec(words[0])
    assert spec is not None, where
    if words[0].startswith("tests."):
        source = Path(spec.origin).read_text()
        assert all(f'"{word}"' in source for word in words if word.startswith("--")), where
