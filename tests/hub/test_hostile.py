"""What comes from the Hub is a stranger's: hostile repositories and servers end in one clear error, or do no harm."""

from __future__ import annotations

import functools
import json
import pickle
import re
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer.main

from emosteer import EmotionVectors, hub
from emosteer._util.layout import LIMITS
from emosteer.errors import EmosteerError, FormatError, InputError
from tests.hub import hostile
from tests.hub.hostile import CANARY, NAME, Hostile, HostileServer
from tests.loopback import connected

REPOSITORIES = list(hostile.repositories())
MOST = 96 * 2**20  # bytes of memory at a time


@pytest.fixture(autouse=True, scope="module")
def quicker():
    """Neither the command line nor the certificates need to be looked through anew for every command and hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Home, working and temporary folder, in one that is looked over afterwards."""
    for name in ("home", "work", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "home" / "precious").write_text("mine")
    return tmp_path


def harmless(out: str, err: str, status: int) -> None:
    """What a command printed moves no cursor, paints nothing, and is one line when it is an error."""
    for text in (out, err):
        assert all(c.isprintable() or c == "\n" for c in text), ascii(text)
    assert "Traceback" not in out + err
    assert status in (0, 1)
    assert [line for line in err.splitlines() if not line.startswith("Warning: ")] == (
        [] if status == 0 else [line for line in err.splitlines() if line.startswith("Error: ")][:1]
    ), err


def clean(place: Path) -> None:
    """No file but those in the folder that the client's cache has for the repository."""
    assert (place / "home" / "precious").read_text() == "mine"
    allowed = (
        r"home(/precious)?|work|tmp|home/hf(/hub(/\.locks|/CACHEDIR.TAG|/version.txt)?)?"
        r"|home/hf/hub/(\.locks/)?models--mallory--tones(/.*)?"
    )
    found = [str(path.relative_to(place)) for path in place.rglob("*")]
    assert not [path for path in found if not re.fullmatch(allowed, path)], found
    assert not list(place.rglob("*.incomplete"))
    assert not Path(CANARY).exists()
    cache = place / "home/hf/hub"
    assert all(path.resolve().is_relative_to(cache) for path in cache.rglob("*"))


def asked(hub: hostile.HostileHub) -> None:
    """Only files of the format were asked for, and the token went nowhere else."""
    for request in hub.requests:
        if "/resolve/" in request.path:
            assert request.path.rpartition("/")[2] in LIMITS, request.path
        if request.server == "storage":
            assert "authorization" not in request.headers
            assert "hf_victim" not in str(request)


def ends(said: str | None, source: str = NAME, **options: object) -> None:
    """Loading ends in an error of ours that says so, or well."""
    if said is None:
        EmotionVectors.from_pretrained(source, **options)
        return
    with pytest.raises(EmosteerError, match=said) as caught:
        EmotionVectors.from_pretrained(source, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1_500


@contextmanager
def tried(case: Hostile | HostileServer, place: Path) -> Iterator[hostile.HostileHub]:
    """A hub with the case, whatever is done with it, with nothing left behind."""
    with hostile.serving(case) as hub:
        with connected(hub, place / "home/hf", token=hub.token("victim")) as client:
            yield hub
        assert sum(client.naps) < 600
    asked(hub)
    clean(place)


def commands(command_line, said: str | None, place: Path) -> None:
    """The same on the command line."""
    fine = () if said else (("info", NAME, "--json"),)  # an error is printed in one way
    for arguments in (("pull", NAME, "--output", "new"), ("info", NAME), *fine, ("list",)):
        status, out, err = command_line(*arguments)
        harmless(out, err, status)
        if arguments[0] == "pull":
            assert status == (1 if said else 0), (out, err)
            assert re.search(said or "", err)
            assert Path("new").exists() == (said is None)
            for path in Path("new").glob("*"):
                path.unlink()
            if said is None:
                Path("new").rmdir()
        if "--json" in arguments and status == 0:
            json.loads(out)


@pytest.mark.filterwarnings("ignore::emosteer.errors.EmosteerWarning")
@pytest.mark.parametrize("case", REPOSITORIES, ids=lambda case: case.name)
def test_a_hostile_repository_does_no_harm(case, place, command_line):
    with tried(case, place):
        if case.name not in ("not-a-number", "infinity", "digests-wrong"):
            ends(case.said, emotions=["joy"])
        ends(case.said)
        commands(command_line, case.pulled, place)


@pytest.mark.filterwarnings("ignore::emosteer.errors.EmosteerWarning")
@pytest.mark.parametrize("case", list(hostile.servers(Path("/nowhere"))), ids=lambda case: case.name)
def test_a_hostile_server_does_no_harm(case, place, command_line):
    (case,) = (one for one in hostile.servers(place / "home" / "precious") if one.name == case.name)
    with tried(case, place):
        ends(case.said, emotions=["joy"])
        ends(case.said)
        commands(command_line, case.said, place)


def test_what_would_be_run_does_write_the_canary(place):
    pickle.loads(hostile.PICKLE).close()
    assert Path(CANARY).exists()


@pytest.mark.parametrize(
    "name", ["header-wide", "header-deep", "emotions-many", "shape-huge", "record-wide", "card-aliases"]
)
def test_a_bomb_takes_little_memory(name, place, command_line):
    (case,) = (one for one in REPOSITORIES if one.name == name)
    with tried(case, place):
        command_line("list")  # what is imported is not counted
        peak = measured(lambda: command_line("pull", NAME))
    assert peak < MOST


@pytest.mark.parametrize("name", ["flood", "squeezed"])
def test_a_server_without_measure_takes_little_memory(name, place):
    cases = [*hostile.servers(place / "x"), HostileServer("flood", "", hostile.flood, "not a valid|cannot be read")]
    (case,) = (one for one in cases if one.name == name)
    with tried(case, place) as hub:
        peak = measured(lambda: ends(case.said, emotions=["joy"]))
        sent = sum(request.sent for request in hub.requests)
    assert peak < MOST
    assert sent < 40 * 2**20


def measured(do) -> int:
    """The most memory, in bytes, that was held at a time beyond what was there."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# What is listed.


def listed(entries: object, place: Path, command_line, **headers: str) -> tuple[int, str, str]:
    twist = hostile.on("/api/models")(
        lambda site, request, reply: hostile.replace(
            hostile.answer(entries), headers={"Content-Type": "application/json", **headers}
        )
    )
    with tried(HostileServer("list", "", twist, None), place):
        status, out, err = command_line("list", "--json")
        harmless(out, err, status)
        assert status or json.loads(out)
        status, out, err = command_line("list")
        harmless(out, err, status)
        return status, out, err


@pytest.mark.parametrize(
    "text", [hostile.RED, hostile.C1, hostile.TURN, hostile.MARKUP, "../../x", "mallory/j\u043ey", "a\n/b"]
)
def test_a_name_or_tag_that_is_none_is_not_listed(text, place, command_line):
    fine = {"id": NAME, "tags": ["emosteer", f"base_model:{text}", f"base_model:adapter:{text}", "base_model:org/tiny"]}
    status, out, _ = listed([fine, {"id": text}, {"id": f"mallory/{text}"}], place, command_line)
    assert status == 0
    assert NAME in out
    assert "org/tiny" in out
    assert not any(word in out for word in ("red", "der", "bold", "..", "j\u043ey", "a\n"))


@pytest.mark.parametrize(
    "entry",
    [
        {"id": NAME, "downloads": hostile.RED, "likes": [hostile.C1], "gated": hostile.MARKUP, "private": hostile.RED},
        {"id": NAME, "lastModified": "2026-99-99T00:00:00.000Z"},
        {"id": NAME, "lastModified": {"a": 1}},
        {"id": NAME, "tags": [1, None, {}]},
        {"id": NAME, "tags": "emosteer"},
        {"id": [NAME]},
        {"id": None},
        {},
        [],
        hostile.RED,
        None,
    ],
    ids=str,
)
def test_an_entry_of_a_list_that_is_of_another_kind(entry, place, command_line):
    listed([entry], place, command_line)


# What is asked for.


@pytest.mark.parametrize(
    "name",
    ["mallory/j\u043ey", "\uff4dallory/tones", "mallory/tones\n", "../tones", "mallory/..", "-x/y", "a/b\x1b[31m"],
)
def test_a_name_that_only_looks_like_one_is_not_asked_for(name, place, command_line):
    with hostile.HostileHub() as site, connected(site, place / "home/hf", token=site.token("victim")):
        with pytest.raises((InputError, FormatError)):
            EmotionVectors.from_pretrained(name)
        with pytest.raises(InputError):
            hub.Repository.at(name)
        for command in ("pull", "info"):
            status, out, err = command_line(command, "--", name)
            harmless(out, err, status)
            assert status == 1
        assert not site.requests


@pytest.mark.filterwarnings("ignore::emosteer.errors.EmosteerWarning", "ignore:Warnings while validating metadata")
@pytest.mark.parametrize("folder", ["code", "card-tag", "label-escape"])
def test_a_hostile_folder_is_not_pushed_but_for_what_is_fine(folder, place, command_line):
    (case,) = (one for one in REPOSITORIES if one.name == folder)
    with hostile.HostileHub() as site, connected(site, place / "home/hf", token=site.token("victim")):
        for path, data in case.files.items():
            Path("work").mkdir(exist_ok=True)
            Path("work", path).write_bytes(data)
        status, out, err = command_line("push", "work", "victim/[/red]")
        harmless(out, err, status)
        assert status == 1
        status, out, err = command_line("push", "work", "victim/tones")
        harmless(out, err, status)
        assert status == (1 if case.pulled else 0)
        assert case.pulled or set(site.repositories["victim/tones"].files()) <= {*LIMITS, ".gitattributes"}


def test_the_repositories_can_be_written_out(place):
    made = subprocess.run(
        [sys.executable, "-m", "tests.hub.hostile", "--output", str(place / "work" / "all")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(made.stdout.splitlines()) == len(REPOSITORIES)
    assert {path.name for path in (place / "work" / "all").iterdir()} == {case.name for case in REPOSITORIES}
    assert not list(place.rglob(CANARY))
