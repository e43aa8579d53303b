"""Vectors on the Hub, through the installed client over a real socket."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, ModelInfo

import emosteer
from emosteer import EmotionVectors, hub
from emosteer._util import layout
from emosteer.errors import EmosteerWarning, FormatError, HubError, InputError, ToneError
from emosteer.models.fingerprint import BaseModel
from emosteer.vectors import card, storage
from emosteer.vectors.types import Dose, EmotionInfo
from tests.conftest import few, files_of
from tests.loopback import LoopbackHub, connected, environment

SHIPPED = Path("vectors") / "smollm2-135m-instruct-en"
PROSE = "## Why I made these\n\nFor a radio play — they are *mine*.\r\nTwo  spaces,\ttabs.\n\n"
NAME = "alice/tones"


@pytest.fixture
def site():
    with LoopbackHub(lfs_threshold=4_000) as site:
        yield site


@pytest.fixture
def alice(site, tmp_path):
    with connected(site, tmp_path / "home", token=site.token("alice")) as client:
        yield client


@pytest.fixture
def vectors() -> EmotionVectors:
    return made()


def made(seed: int = 0, emotions: int = 3, **changes) -> EmotionVectors:
    generator = torch.Generator().manual_seed(seed)
    names = [f"tone{n}" for n in range(emotions)]
    unit = torch.nn.functional.normalize
    given = {
        "directions": {name: unit(torch.randn(4, 32, generator=generator), dim=-1) for name in names},
        "residual_norm": torch.rand(4, generator=generator) + 1,
        "layers": (0, 1, 2, 3),
        "base_model": BaseModel("llama", 4, 32, repo_id="org/tiny"),
        "info": {names[0]: EmotionInfo({"en": "Tone"}, 0.5, -0.25, "Made up")},
        "doses": {names[0]: Dose(0.3, (1, 2), (0.5, 0.5), cost=0.4, hit_rate=0.75)},
        "extraction": {"method": "mean_difference", "pooling": "mean", "languages": ["en"]},
        "license": "Apache-2.0",
    }
    return EmotionVectors(**{**given, **changes})


def same(one: EmotionVectors, other: EmotionVectors) -> bool:
    tensors = [
        [*v.directions.values(), v.residual_norm, *(t for t in (v.center, v.neutral_basis) if t is not None)]
        for v in (one, other)
    ]
    return one.emotions == other.emotions and all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


# Push and pull.


def test_a_round_trip_changes_no_byte(site, alice, vectors, tmp_path):
    vectors.save_pretrained(tmp_path / "mine")
    done = vectors.push_to_hub(NAME)
    repository = site.repositories[NAME]
    assert done.commit == repository.commits[0].oid
    pushed = repository.files()
    assert done.files == ("README.md", "config.json", "vectors.safetensors")
    for name in ("config.json", "vectors.safetensors"):
        assert pushed[name] == (tmp_path / "mine" / name).read_bytes()
    here = (tmp_path / "mine" / "README.md").read_text()
    assert pushed["README.md"].decode() == here.replace("path/to/this/folder", NAME)  # the same but for its place
    back = EmotionVectors.from_pretrained(NAME)
    assert same(back, vectors)
    assert (back.doses, back.info, back.license) == (vectors.doses, vectors.info, vectors.license)


def test_a_push_is_one_commit_with_its_message(site, alice, vectors):
    vectors.push_to_hub(NAME, commit_message="Tones for the play")
    assert [commit.title for commit in site.repositories[NAME].commits][:-1] == ["Tones for the play"]
    vectors.push_to_hub(NAME)  # nothing new, no commit
    assert len(site.repositories[NAME].commits) == 2


def test_the_shipped_folder_is_exactly_what_is_pushed(site, alice):
    storage.push(storage.files_to_push(SHIPPED), NAME)
    pushed = site.repositories[NAME].files()
    pushed.pop(".gitattributes", None)
    assert pushed == {path.name: path.read_bytes() for path in SHIPPED.iterdir()}


def test_all_files_are_of_one_commit(site, alice, vectors):
    vectors.push_to_hub(NAME)
    newer = made(seed=1)
    site.before("resolve/.*/config.json", lambda: site.commit(NAME, files_of(newer)))
    assert same(EmotionVectors.from_pretrained(NAME), vectors)
    assert same(EmotionVectors.from_pretrained(NAME), newer)


def test_a_revision_can_be_named(site, alice, vectors):
    first = vectors.push_to_hub(NAME)
    made(seed=1).push_to_hub(NAME)
    made(seed=2).push_to_hub(NAME, revision="soft")
    assert same(EmotionVectors.from_pretrained(NAME, revision=first.commit), vectors)
    assert same(EmotionVectors.from_pretrained(NAME), made(seed=1))
    assert same(EmotionVectors.from_pretrained(NAME, revision="soft"), made(seed=2))
    with pytest.raises(HubError, match="no such branch, tag or commit"):
        EmotionVectors.from_pretrained(NAME, revision="loud")


def test_a_repository_may_hold_several_sets(site, alice, vectors):
    vectors.push_to_hub(NAME)
    storage.push(files_of(made(seed=1)), NAME, subfolder="small/en")
    assert same(EmotionVectors.from_pretrained(NAME), vectors)
    assert same(EmotionVectors.from_pretrained(NAME, subfolder="small/en"), made(seed=1))
    assert same(
        EmotionVectors.from_pretrained(NAME, subfolder="small/en", emotions=["tone1"])
        .merge(made(seed=1).select(["tone0", "tone2"]))
        .select(made().emotions),
        made(seed=1),
    )
    for folder in ("../up", "/root", "a/../b", "a//b", "", ".hidden"):
        with pytest.raises(InputError, match="not the name of a folder"):
            EmotionVectors.from_pretrained(NAME, subfolder=folder)


def test_only_vectors_and_config_are_fetched(site, alice, vectors):
    site.create(NAME, {**files_of(vectors), "evil.py": b"boom", "pytorch_model.bin": b"x" * 10_000})
    EmotionVectors.from_pretrained(NAME)
    got = {request.path.rpartition("/")[2] for request in site.requests if "/resolve/" in request.path}
    assert got == {"vectors.safetensors", "config.json"}


def test_records_of_other_vectors_are_taken_out(site, alice, vectors, tmp_path):
    vectors.save_pretrained(tmp_path)
    for name in ("calibration.json", "steering.json", "confusion.png", "notes.txt"):
        (tmp_path / name).write_text("{}")
    files = storage.files_in(tmp_path)  # they are calibrated, and hold nothing that was measured
    assert sorted(files) == ["README.md", "calibration.json", "config.json", "vectors.safetensors"]
    storage.push(files, NAME)
    site.commit(NAME, {"theirs.md": b"kept", "steering.json": b"{}"})
    done = made(seed=1, doses={}).push_to_hub(NAME)
    assert done.deleted == ("calibration.json", "steering.json")
    assert site.repositories[NAME].files()["theirs.md"] == b"kept"


# Some emotions only.


def test_two_emotions_of_the_shipped_set_read_a_fifth_of_its_tensors_at_most(alice, site):
    site.create(NAME, {name: (SHIPPED / name).read_bytes() for name in ("vectors.safetensors", "config.json")})
    some = EmotionVectors.from_pretrained(NAME, emotions=["joy", "calm"])
    assert same(some, EmotionVectors.from_pretrained(SHIPPED, emotions=["joy", "calm"]))
    assert some.emotions == ("joy", "calm")
    size = (SHIPPED / "vectors.safetensors").stat().st_size
    sent = sum(request.sent for request in site.requests if request.range)
    assert 2 * 30 * 576 * 4 < sent < 0.2 * size, sent / size
    assert not [r for r in site.requests if "vectors.safetensors" in r.path and r.method == "GET" and not r.range]


def test_some_emotions_of_a_whole_file_in_the_cache_are_read_there(site, alice, vectors):
    vectors.push_to_hub(NAME)
    EmotionVectors.from_pretrained(NAME)
    before = len(site.requests)
    some = EmotionVectors.from_pretrained(NAME, emotions=["tone1"])
    assert some.emotions == ("tone1",)
    assert not [r for r in site.requests[before:] if "resolve" in r.path]


def test_an_emotion_that_is_not_there(site, alice, vectors):
    vectors.push_to_hub(NAME)
    with pytest.raises(ToneError, match="no emotion 'glee'"):
        EmotionVectors.from_pretrained(NAME, emotions=["glee"])


# The card.


def test_what_people_wrote_into_the_card_is_kept_to_the_byte(site, alice, vectors):
    vectors.push_to_hub(NAME)
    written = site.repositories[NAME].files()["README.md"].decode()
    front, rest = written.split("---\n\n", 1)
    edited = front + "funding: the sea\n# a remark\n---\n\n" + PROSE + rest + "\n" + PROSE + "trailing  "
    edited = edited.replace("- emotion\n", "- emotion\n- radio\n")
    site.commit(NAME, {"README.md": edited.encode()})
    made(seed=1, doses={"tone2": Dose(0.7777, (1,), (1.0,))}).push_to_hub(NAME)
    text = site.repositories[NAME].files()["README.md"].decode()
    assert "0.78" in text
    assert "0.78" not in edited
    before, _, after = edited.partition(card.BEGIN)[0], None, edited.partition(card.END)[2]
    assert text.startswith(before)
    assert text.endswith(after)
    assert text.count(card.BEGIN) == text.count(card.END) == 1


def test_a_card_without_our_part_gets_it_at_its_end(site, alice, vectors):
    theirs = "---\nlicense: mit\nbase_model: someone/else\n---\n" + PROSE
    site.create(NAME, {"README.md": theirs.encode()})
    vectors.push_to_hub(NAME)
    text = site.repositories[NAME].files()["README.md"].decode()
    assert PROSE.rstrip() in text
    data = card.metadata(text)
    assert data["base_model"] == "org/tiny"
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "emosteer"


def test_a_card_that_cannot_be_merged_stops_the_push(site, alice, vectors):
    site.create(NAME, {"README.md": b"---\ntags: [unclosed\n---\nMine\n"})
    with pytest.raises(HubError, match=r"(?s)card of alice/tones cannot be merged.*Nothing was written"):
        vectors.push_to_hub(NAME)
    assert len(site.repositories[NAME].commits) == 2
    storage.push(files_of(vectors), NAME, replace_card=True)
    assert "Mine" not in site.repositories[NAME].files()["README.md"].decode()


def test_the_card_is_valid_to_the_hub(alice, vectors):
    ModelCard(card.new(vectors.config)).validate()
    ModelCard((SHIPPED / "README.md").read_text()).validate()


def test_prose_stays_when_a_mark_is_gone(site, alice, vectors):
    vectors.push_to_hub(NAME)
    text = site.repositories[NAME].files()["README.md"].decode().replace(card.END, "")
    site.commit(NAME, {"README.md": (text + PROSE).encode()})
    for seed in (1, 2, 3):
        made(seed=seed).push_to_hub(NAME)
        assert PROSE in site.repositories[NAME].files()["README.md"].decode()


def test_a_card_that_was_changed_by_hand_is_pushed_as_the_file_says(site, alice, vectors, tmp_path):
    vectors.save_pretrained(tmp_path)
    honest = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(honest.replace("0.75", "0.99") + PROSE)
    storage.push(storage.files_to_push(tmp_path), NAME)
    text = site.repositories[NAME].files()["README.md"].decode()
    assert "0.99" not in text
    assert "0.75" in text
    assert PROSE.strip() in text.replace("\r", "") or PROSE in text
    (tmp_path / "README.md").write_text("# mine\n")
    storage.push(storage.files_to_push(tmp_path), "alice/other")
    assert card.metadata(site.repositories["alice/other"].files()["README.md"].decode())["library_name"] == "emosteer"


def test_own_text_that_the_card_there_does_not_have_is_told(site, alice, vectors, tmp_path):
    vectors.push_to_hub(NAME)
    vectors.save_pretrained(tmp_path)
    with (tmp_path / "README.md").open("a") as stream:
        stream.write("\nA word of mine.\n")
    with pytest.warns(EmosteerWarning, match="keeps its own text.*--replace-card"):
        storage.push(storage.files_to_push(tmp_path), NAME)
    storage.push(storage.files_to_push(tmp_path), NAME, replace_card=True)
    assert "A word of mine." in site.repositories[NAME].files()["README.md"].decode()
    assert not storage.push(storage.files_to_push(tmp_path), NAME).changed


def test_a_card_that_names_its_repository_goes_on_naming_it(site, alice, vectors, tmp_path):
    vectors.push_to_hub(NAME)
    storage.push(files_of(made(seed=1)), NAME)
    text = site.repositories[NAME].files()["README.md"].decode()
    assert f'vectors="{NAME}"' in text
    assert "path/to/this/folder" not in text


def test_what_former_vectors_said_of_their_model_goes(site, alice, vectors):
    vectors.push_to_hub(NAME)
    made(base_model=BaseModel("llama", 4, 32)).push_to_hub(NAME)
    assert "base_model" not in card.metadata(site.repositories[NAME].files()["README.md"].decode())
    assert hub.search(base_model="org/tiny") == []


# Whose it is.


def test_a_pull_request_onto_the_repository_of_somebody_else(site, alice, vectors):
    site.create("bob/tones", files_of(made(seed=1)))
    with pytest.raises(HubError, match=r"You may not do that to bob/tones.*pull request"):
        vectors.push_to_hub("bob/tones")
    done = vectors.push_to_hub("bob/tones", create_pr=True)
    assert done.pull_request == 1
    assert "/discussions/1" in done.url
    assert same(EmotionVectors.from_pretrained("bob/tones"), made(seed=1))
    assert same(EmotionVectors.from_pretrained("bob/tones", revision="refs/pr/1"), vectors)
    with pytest.raises(InputError, match="against the main branch"):
        vectors.push_to_hub("bob/tones", create_pr=True, revision="soft")


def test_a_pull_request_needs_a_repository(alice, vectors):
    with pytest.raises(HubError, match="nor a repository of that name"):
        vectors.push_to_hub("bob/nowhere", create_pr=True)


def test_a_private_repository(site, alice, vectors):
    vectors.push_to_hub(NAME, private=True)
    assert site.repositories[NAME].private
    assert same(EmotionVectors.from_pretrained(NAME), vectors)
    with pytest.raises(HubError, match="is private already"):
        vectors.push_to_hub(NAME, private=False)
    alice.use_token(site.token("bob"))
    with pytest.raises(HubError, match=r"no folder alice/tones here, nor a repository .* If it is private: Log in"):
        EmotionVectors.from_pretrained(NAME)


def test_a_public_repository_is_not_taken_for_a_private_one(site, alice, vectors):
    vectors.push_to_hub(NAME)
    with pytest.raises(HubError, match="is public already"):
        made(seed=1).push_to_hub(NAME, private=True)
    assert len(site.repositories[NAME].commits) == 2


def test_a_gated_repository(site, alice, vectors):
    site.create("bob/tones", files_of(vectors), gated="manual")
    for emotions in (None, ["tone0"]):
        with pytest.raises(HubError, match=r"bob/tones is gated.*See its page"):
            EmotionVectors.from_pretrained("bob/tones", emotions=emotions)
    site.grant("bob/tones", "alice")
    assert same(EmotionVectors.from_pretrained("bob/tones"), vectors)


def test_a_token_that_is_none(site, alice, vectors):
    for name in (NAME, "bob/other"):
        alice.use_token("hf_nonsense")
        with pytest.raises(HubError, match=r"does not accept this token|Log in"):
            vectors.push_to_hub(name)
    alice.use_token(site.token("alice", role="read"))
    with pytest.raises(HubError, match=r"You may not do that|Log in"):
        vectors.push_to_hub(NAME)
    assert not site.repositories


def test_files_of_somebody_else_stay(site, alice, vectors):
    site.create(NAME, {"confusion.png": b"theirs", "calibration.json": b"theirs"})
    assert vectors.push_to_hub(NAME).deleted == ()
    assert site.repositories[NAME].files()["confusion.png"] == b"theirs"


def test_a_commit_is_no_place_to_push_to(alice, vectors):
    done = vectors.push_to_hub(NAME)
    with pytest.raises(InputError, match="Name a branch"):
        vectors.push_to_hub(NAME, revision=done.commit)


def test_a_repository_that_holds_a_model_is_left_alone(site, alice, vectors):
    site.create(NAME, {"config.json": b"{}", "model.safetensors": b"weights"})
    with pytest.raises(HubError, match="alice/tones holds something else"):
        vectors.push_to_hub(NAME)
    assert site.repositories[NAME].files()["config.json"] == b"{}"


@pytest.mark.parametrize(
    "files",
    [
        {"config.json": b'{"model_type": "llama"}', "vectors.safetensors": b"a model may have such a file"},
        {"vectors.safetensors": b"theirs"},
        {"tiny.Q4_K_M.gguf": b"weights", "README.md": b"# Weights\n"},
        {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"},
        {"README.md": b"---\nlibrary_name: peft\n---\n\n# An adapter\n"},
    ],
    ids=str,
)
@pytest.mark.parametrize("create_pr", [False, True])
def test_whatever_model_a_repository_holds_it_is_left_alone(site, alice, vectors, files, create_pr):
    site.create(NAME, files)
    before = site.repositories[NAME].files()
    with pytest.raises(HubError, match=r"something else.*Nothing was written"):
        vectors.push_to_hub(NAME, create_pr=create_pr)
    assert site.repositories[NAME].files() == before
    storage.push(files_of(vectors), NAME, subfolder="tones")  # is the place that the error names
    assert same(EmotionVectors.from_pretrained(NAME, subfolder="tones"), vectors)


def test_records_of_somebody_else_are_not_replaced(site, alice, tmp_path):
    site.create(NAME, {"steering.json": b"theirs"})
    with pytest.raises(HubError, match=r"holds something else: steering\.json"):
        storage.push(storage.files_to_push(SHIPPED), NAME)
    assert site.repositories[NAME].files()["steering.json"] == b"theirs"


@pytest.mark.parametrize(
    "name", ["tones", "alice/tones/more", "alice/to nes", "alice/", "/tones", "../up", "a/..", "a\nb/c"]
)
def test_a_name_that_cannot_be_one(alice, vectors, name):
    with pytest.raises(InputError, match="not the name of a repository"):
        vectors.push_to_hub(name)
    with pytest.raises((InputError, FormatError)):
        EmotionVectors.from_pretrained(name)


def test_a_folder_of_that_name_comes_first(alice, vectors, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vectors.save_pretrained("alice/tones")
    assert same(EmotionVectors.from_pretrained(NAME), vectors)
    with pytest.raises(InputError, match="not a repository on the Hub"):
        EmotionVectors.from_pretrained(NAME, revision="main")


# Licences.


def test_a_base_model_whose_terms_bind(site, alice, vectors):
    site.create("org/tiny", {"README.md": b"---\nlicense: gemma\n---\n"})
    with pytest.warns(EmosteerWarning, match="org/tiny is under 'gemma', these vectors say 'apache-2.0'"):
        vectors.push_to_hub(NAME)


@pytest.mark.parametrize(("base", "ours"), [("apache-2.0", "MIT"), ("gemma", "gemma"), (None, "Apache-2.0")])
def test_a_base_model_that_leaves_the_licence_free(site, alice, base, ours):
    site.create("org/tiny", {"README.md": f"---\nlicense: {base}\n---\n".encode()} if base else {})
    made(license=ours).push_to_hub(NAME)


def test_vectors_without_a_licence(alice, vectors):
    with pytest.warns(EmosteerWarning, match="have no licence"):
        dataclasses.replace(vectors, license=None).push_to_hub(NAME)


# Without a connection.


def test_offline_after_one_pull(site, alice, vectors):
    vectors.push_to_hub(NAME)
    EmotionVectors.from_pretrained(NAME)
    before = len(site.requests)
    assert same(EmotionVectors.from_pretrained(NAME, local_files_only=True), vectors)
    assert len(site.requests) == before
    alice.offline()
    assert same(EmotionVectors.from_pretrained(NAME), vectors)
    assert EmotionVectors.from_pretrained(NAME, emotions=["tone2"]).emotions == ("tone2",)
    with pytest.raises(
        HubError, match=r"bob/calm is no folder here, cannot be got from the Hub now.*emosteer pull bob/calm"
    ):
        EmotionVectors.from_pretrained("bob/calm")
    with pytest.raises(HubError, match="Nothing was written"):
        vectors.push_to_hub(NAME)
    with pytest.raises(HubError, match="the Hub cannot be reached now"):
        hub.search()


def test_the_cache_serves_when_the_hub_is_down(site, alice, vectors):
    vectors.push_to_hub(NAME)
    EmotionVectors.from_pretrained(NAME)
    site.fail("", status=503, times=50)
    assert same(EmotionVectors.from_pretrained(NAME), vectors)


def test_a_pull_works_again_without_a_connection(site, alice, vectors, command_line):
    vectors.push_to_hub(NAME)
    assert command_line("pull", NAME)[0] == 0
    site.fail("", status=503, times=100)
    assert command_line("pull", NAME)[0] == 0
    alice.offline()
    assert command_line("pull", NAME)[0] == 0


def test_a_damaged_cache_says_where_it_is(site, alice, vectors, tmp_path):
    vectors.push_to_hub(NAME)
    EmotionVectors.from_pretrained(NAME)
    (file,) = (tmp_path / "home").rglob("vectors.safetensors")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.resolve().write_bytes(damaged)
    with pytest.raises(FormatError, match=r"was damaged in .* cache. Delete .*blobs.*, and it will be") as caught:
        EmotionVectors.from_pretrained(NAME)
    Path(re.search(r"Delete (\S+),", str(caught.value))[1]).unlink()
    assert same(EmotionVectors.from_pretrained(NAME), vectors)


def test_only_the_cache_is_asked_and_has_nothing(alice, vectors):
    vectors.push_to_hub(NAME)
    with pytest.raises(HubError, match="not in the Hub client's cache"):
        EmotionVectors.from_pretrained(NAME, local_files_only=True)


# Faults on the way: nothing lost, nothing half-written.

PULL = "resolve|/storage|objects"


@pytest.mark.parametrize("fault", ["fail", "cut", "delay"])
def test_what_passes_is_tried_again(site, alice, vectors, fault):
    vectors.push_to_hub(NAME)
    if fault == "delay":
        site.delay("vectors.safetensors", seconds=0.2)
    elif fault == "cut":
        site.cut("", method="GET", after_bytes=500, times=1)
    else:
        site.fail("vectors.safetensors", status=503, times=1)
    assert same(EmotionVectors.from_pretrained(NAME), vectors)


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/models/", 500, "cannot be got from the Hub now"),
        ("resolve/.*vectors", 500, "trouble|failed|cannot be got"),
        ("resolve/.*vectors", 429, "too many requests|failed|cannot be got"),
    ],
)
@pytest.mark.parametrize("emotions", [None, ["tone1"]])
def test_a_hub_in_trouble(site, alice, vectors, path, status, said, emotions):
    vectors.push_to_hub(NAME)
    site.fail(path, status=status, times=50, headers={"Retry-After": "2"})
    with pytest.raises(HubError, match=said):
        EmotionVectors.from_pretrained(NAME, emotions=emotions)


@pytest.mark.parametrize("emotions", [None, ["tone1"]])
def test_bytes_that_were_changed_on_the_way_are_not_kept(site, alice, vectors, emotions):
    vectors.push_to_hub(NAME)
    site.corrupt("", times=50)
    with pytest.raises(
        (HubError, FormatError), match=r"did not arrive as it was sent|cannot be read|not those|not valid"
    ):
        EmotionVectors.from_pretrained(NAME, emotions=emotions)
    site.mend()
    assert same(EmotionVectors.from_pretrained(NAME), vectors)


def test_one_spoilt_download_is_made_good(site, alice, vectors):
    vectors.push_to_hub(NAME)
    site.corrupt("vectors.safetensors|objects|/storage", times=1)
    assert same(EmotionVectors.from_pretrained(NAME), vectors)


def test_a_stale_answer_is_noticed(site, alice, vectors):
    vectors.push_to_hub(NAME)
    made(seed=1).push_to_hub(NAME)
    site.stale("vectors.safetensors", times=50)
    with pytest.raises((HubError, FormatError)):
        EmotionVectors.from_pretrained(NAME)
    site.mend()
    assert same(EmotionVectors.from_pretrained(NAME), made(seed=1))


def test_a_server_that_ignores_ranges(site, alice, vectors):
    many = made(emotions=80)  # more than one block
    many.push_to_hub(NAME)
    site.ignore_range("", times=50)
    some = EmotionVectors.from_pretrained(NAME, emotions=["tone60"])
    assert torch.equal(some.directions["tone60"], many.directions["tone60"])


@pytest.mark.parametrize("path", ["/api/repos/create", "preupload", "objects/batch", "/commit/", "validate-yaml"])
@pytest.mark.parametrize("status", few([500, 429, 403], 500))
def test_a_push_that_the_hub_does_not_take(site, alice, vectors, path, status):
    vectors.push_to_hub(NAME)
    tip = site.repositories[NAME].commits[0].oid
    site.fail(path, status=status, times=50)
    if path == "/api/repos/create":
        site.repositories.pop(NAME)
    with pytest.raises(HubError, match=r"Nothing was written|push again"):
        made(seed=1).push_to_hub(NAME)
    assert NAME not in site.repositories or site.repositories[NAME].commits[0].oid == tip
    site.mend()
    made(seed=1).push_to_hub(NAME)
    assert same(EmotionVectors.from_pretrained(NAME), made(seed=1))


@pytest.mark.parametrize("path", ["objects|/storage", "/commit/"])
def test_a_push_whose_connection_is_cut(site, alice, vectors, path):
    vectors.push_to_hub(NAME)
    tip = site.repositories[NAME].commits[0].oid
    site.cut(path, after_bytes=100, times=50)
    with pytest.raises(HubError, match=r"connection to the Hub failed.*push again"):
        made(seed=1).push_to_hub(NAME)
    assert site.repositories[NAME].commits[0].oid == tip
    site.mend()
    made(seed=1).push_to_hub(NAME)
    assert same(EmotionVectors.from_pretrained(NAME), made(seed=1))


def test_a_hub_that_does_not_say_what_there_is_gets_nothing(site, alice, vectors, monkeypatch):
    vectors.push_to_hub(NAME)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda self, name, **_: ModelInfo(id=name, sha="0" * 40))
    with pytest.raises(HubError, match=r"does not say what alice/tones holds. Nothing was written"):
        made(seed=1).push_to_hub(NAME)


def test_a_push_whose_answer_is_lost(site, alice, vectors):
    vectors.push_to_hub(NAME)
    site.lose_reply("/commit/")
    with pytest.raises(HubError, match="Whether it was written is not known: push again"):
        made(seed=1).push_to_hub(NAME)
    made(seed=1).push_to_hub(NAME)  # it was: nothing more is committed
    assert len(site.repositories[NAME].commits) == 3


# Two at once.


def test_a_push_in_between_is_a_conflict_and_not_lost(site, alice, vectors):
    vectors.push_to_hub(NAME)
    site.before("preupload", lambda: site.commit(NAME, {"README.md": b"# Edited meanwhile\n"}))
    with pytest.raises(HubError, match=r"Somebody else changed alice/tones in the meantime. Nothing was written"):
        made(seed=1).push_to_hub(NAME)
    assert site.repositories[NAME].files()["README.md"] == b"# Edited meanwhile\n"
    made(seed=1).push_to_hub(NAME)
    assert site.repositories[NAME].files()["README.md"].startswith(b"---")
    assert b"# Edited meanwhile\n" in site.repositories[NAME].files()["README.md"]


def test_two_concurrent_pushes_end_in_one_clean_history(site, alice, vectors):
    vectors.push_to_hub(NAME)
    ended: dict[int, object] = {}

    def go(seed: int) -> None:
        try:
            ended[seed] = made(seed=seed).push_to_hub(NAME)
        except HubError as error:
            ended[seed] = error

    threads = [threading.Thread(target=go, args=(seed,)) for seed in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pushed = [seed for seed, end in ended.items() if isinstance(end, hub.Pushed)]
    assert pushed
    for end in ended.values():
        assert isinstance(end, hub.Pushed) or "Somebody else changed" in str(end)
    commits = site.repositories[NAME].commits
    assert len(commits) == 2 + len(pushed)
    whole = [
        seed
        for seed in pushed
        if files_of(made(seed=seed))["config.json"] == site.repositories[NAME].files()["config.json"]
    ]
    assert len(whole) == 1
    assert same(EmotionVectors.from_pretrained(NAME), made(seed=whole[0]))


# Finding.


def test_list_finds_by_tag_and_base_model(site, alice, vectors):
    vectors.push_to_hub(NAME)
    site.create(
        "bob/calm",
        files_of(made(base_model=BaseModel("llama", 4, 32, repo_id="org/large"))),
        downloads=70,
        likes=3,
        last_modified=datetime(2026, 11, 20, tzinfo=UTC),
    )
    site.create("bob/model", {"README.md": b"---\nlicense: mit\n---\n"}, downloads=900)
    found = hub.search()
    assert [one.name for one in found] == ["bob/calm", NAME]
    assert found[0] == hub.Listing("bob/calm", ("org/large",), 70, 3, "2026-11-20", gated=False, private=False)
    assert [one.name for one in hub.search(base_model="org/tiny")] == [NAME]
    assert [one.name for one in hub.search(text="cal")] == ["bob/calm"]
    assert [one.name for one in hub.search(limit=1)] == ["bob/calm"]
    assert hub.search(base_model="org/none") == []


# On the command line.


def test_push_pull_list_info_on_the_command_line(site, alice, vectors, tmp_path, command_line):
    vectors.save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / "notes.txt").write_text("not ours")
    status, out, err = command_line("push", tmp_path / "mine", NAME, "--json", "--message", "First")
    assert status == 0, err
    told = json.loads(out)
    assert told["files"] == ["README.md", "config.json", "vectors.safetensors"]
    assert told["left_out"] == ["notes.txt"]
    status, out, _ = command_line("list", "--json")
    assert [one["name"] for one in json.loads(out)["repositories"]] == [NAME]
    assert command_line("list")[0] == 0
    before = len(site.requests)
    status, out, _ = command_line("info", NAME, "--json")
    assert status == 0
    status, local, _ = command_line("info", tmp_path / "mine", "--json")
    assert json.loads(out) == json.loads(local)
    assert not [r for r in site.requests[before:] if "vectors" in r.path and r.method == "GET" and not r.range]
    status, out, _ = command_line("pull", NAME, "--output", tmp_path / "theirs", "--json")
    assert status == 0
    (tmp_path / "mine" / "notes.txt").unlink()
    assert {p.name: p.read_bytes() for p in (tmp_path / "theirs").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()
    }
    status, _, err = command_line("pull", NAME, "--output", tmp_path / "theirs")
    assert status == 1
    assert "is there already" in err
    status, out, _ = command_line("pull", NAME)
    assert status == 0
    assert "--vectors alice/tones" in out


def test_processes_of_their_own_find_the_hub_by_the_environment(site, vectors, tmp_path):
    vectors.save_pretrained(tmp_path / "mine")
    surroundings = environment(site, tmp_path / "home", token=site.token("alice"))

    def run(*arguments: object, **more: str) -> dict:
        command = [sys.executable, "-m", "emosteer", *map(str, arguments), "--json"]
        done = subprocess.run(command, env=surroundings | more, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert run("push", tmp_path / "mine", NAME)["commit"] == site.repositories[NAME].commits[0].oid
    run("pull", NAME, "--output", tmp_path / "theirs")
    for name in ("vectors.safetensors", "config.json", "README.md"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "mine" / name).read_bytes()
    before = len(site.requests)
    assert run("info", NAME, HF_HUB_OFFLINE="1")["emotions"][0]["name"] == "tone0"
    assert len(site.requests) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("push", "{tmp}/nowhere", NAME), "cannot be read"),
        (("push", "{tmp}/mine/config.json", NAME), "is not a folder"),
        (("push", "x" * 300, NAME), "File name too long"),
        (("pull", "bob/nothing", "-o", "x" * 300), "File name too long"),
        (("push", "{tmp}/empty", NAME), "cannot be read"),
        (("push", "{tmp}/mine", "just-a-name"), "not the name of a repository"),
        (("pull", "bob/nothing"), "nor a repository of that name"),
        (("pull", "bob/nothing", "-o", "{tmp}/new"), "nor a repository of that name"),
        (("info", "bob/nothing"), "nor a repository of that name"),
        (("pull", "org/tiny"), "has no vectors.safetensors"),
        (("info", "org/tiny"), "has no config.json"),
    ],
)
def test_what_cannot_be_is_one_clear_line(site, alice, vectors, tmp_path, command_line, arguments, said):
    site.create("org/tiny", {"README.md": b"# A model\n"})
    (tmp_path / "empty").mkdir()
    vectors.save_pretrained(tmp_path / "mine")
    status, _, err = command_line(*(str(a).replace("{tmp}", str(tmp_path)) for a in arguments))
    assert status == 1
    assert said in err
    assert err.startswith("Error: ")
    assert "Traceback" not in err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vectors.safetensors", b"0" * 100, "not a valid"),
        ("config.json", b"{}", "differ"),
        ("calibration.json", b"{", "cannot be read"),
        ("README.md", b"---\ntags: [\n---\n", "front matter"),
        ("README.md", b"\xff\xfe", "decode byte"),
        ("README.md", b"x" * (2**20 + 1), "has 1,048,577 bytes"),
    ],
)
def test_a_folder_is_checked_before_anything_is_sent(site, alice, vectors, tmp_path, name, content, said):
    vectors.save_pretrained(tmp_path / "mine")
    (tmp_path / "mine" / name).write_bytes(content)
    with pytest.raises((FormatError, InputError), match=said):
        storage.files_in(tmp_path / "mine")
    assert not site.requests


def test_a_figure_is_a_picture(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "copy")
    (tmp_path / "copy" / "confusion.png").write_bytes(b"<script>")
    with pytest.raises(FormatError, match="not a PNG"):
        storage.files_in(tmp_path / "copy")


def test_a_pull_gives_the_card_as_it_is_there(site, alice, vectors, tmp_path, command_line):
    theirs = card.new(vectors.config).replace("An emotion is", "To me an emotion is").encode()
    site.create(NAME, {**files_of(vectors), "README.md": theirs})
    assert command_line("pull", NAME, "--output", tmp_path / "new")[0] == 0
    assert (tmp_path / "new" / "README.md").read_bytes() == theirs


def test_nothing_is_left_of_a_pull_that_fails(site, alice, vectors, tmp_path, command_line):
    site.create(NAME, {**files_of(vectors), "calibration.json": b"{"})
    status, _, err = command_line("pull", NAME, "-o", tmp_path / "new")
    assert status == 1
    assert "calibration.json" in err
    assert not (tmp_path / "new").exists()
    shutil.rmtree(tmp_path / "home")
    assert not list(tmp_path.iterdir())


def test_steered_from_the_hub(site, alice, vectors, tmp_path):
    from tests.conftest import tiny_model, tiny_tokenizer

    model, tokenizer = tiny_model(), tiny_tokenizer()
    own = dataclasses.replace(vectors, base_model=emosteer.EmotionVectors.random(model, ["a"]).base_model)
    own.push_to_hub(NAME)
    inputs = tokenizer("Hello", return_tensors="pt")
    with emosteer.SteeredModel(model, tokenizer, EmotionVectors.from_pretrained(NAME)) as steered:
        got = steered.generate(**inputs, emotion={"tone0": 2.0}, max_new_tokens=8, do_sample=False)
    with emosteer.SteeredModel(model, tokenizer, own) as steered:
        assert torch.equal(got, steered.generate(**inputs, emotion={"tone0": 2.0}, max_new_tokens=8, do_sample=False))


def test_sizes_are_looked_at_before_a_download(site, alice, vectors, monkeypatch):
    files = files_of(vectors)
    site.create(NAME, files)
    monkeypatch.setitem(layout.LIMITS, "vectors.safetensors", len(files["vectors.safetensors"]) - 1)
    for emotions in (None, ["tone0"]):
        with pytest.raises(HubError, match="no such file has more than"):
            EmotionVectors.from_pretrained(NAME, emotions=emotions)
    assert not [request for request in site.requests if request.method == "GET" and "vectors" in request.path]
