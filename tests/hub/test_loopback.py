"""The hub on the loopback, held against the installed client alone: what it says is what the client understands."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    hf_hub_download,
    hf_hub_url,
    list_models,
    model_info,
    upload_folder,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session, httpx

from tests.loopback import LoopbackHub, connected, environment

CARD = b"""---
license: apache-2.0
language: en
library_name: emosteer
tags: [steering]
base_model: org/tiny
---
# Joy
"""
LARGE = bytes(range(256)) * 800  # 200 KiB, large enough for every socket buffer to show a cut
FILES = {"README.md": CARD, "config.json": b'{"a": 1}', "vectors.safetensors": LARGE}


@pytest.fixture
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def client(hub, tmp_path):
    """The client of this process, as alice."""
    with connected(hub, tmp_path / "home", token=hub.token("alice")) as client:
        yield client


@pytest.fixture
def joy(hub, client):
    """alice/joy as alice left it."""
    return hub.create("alice/joy", FILES)


@pytest.fixture
def folder(tmp_path):
    """What is pushed."""
    folder = tmp_path / "folder"
    for name, data in FILES.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def asked(hub, since: int = 0) -> list[str]:
    return [f"{request.method} {request.path} {request.status}" for request in hub.requests[since:]]


def pulled(*args, **kwargs) -> bytes:
    return Path(hf_hub_download("alice/joy", *args, **kwargs)).read_bytes()


# ------------------------------------------------------------------------------------------------------- pushing


def test_a_folder_is_created_pushed_and_described(hub, client, folder):
    url = huggingface_hub.create_repo("alice/joy")
    assert huggingface_hub.parse_hf_uri(str(url)).id == "alice/joy"
    assert (str(url), url.repo_id) == (f"{hub.url}/alice/joy", "alice/joy")
    with pytest.raises(HfHubHTTPError, match="409"):
        huggingface_hub.create_repo("alice/joy")
    assert huggingface_hub.create_repo("alice/joy", exist_ok=True).repo_id == "alice/joy"

    done = upload_folder(repo_id="alice/joy", folder_path=folder, commit_message="Push joy")

    repository = hub.repositories["alice/joy"]
    assert {name: repository.files()[name] for name in FILES} == FILES
    assert [commit.title for commit in repository.commits] == ["Push joy", "initial commit"]
    assert (done.oid, done.pr_url) == (repository.at().oid, None)

    about = model_info("alice/joy", files_metadata=True)
    assert (about.sha, about.private, about.gated, about.downloads) == (done.oid, False, False, 0)
    assert set(about.tags) >= {"emosteer", "steering", "safetensors", "license:apache-2.0", "base_model:org/tiny", "en"}
    assert about.card_data.license == "apache-2.0"
    assert model_info("alice/joy", expand=["downloads"]).sha is None
    files = {file.rfilename: file for file in about.siblings}
    assert files["vectors.safetensors"].lfs.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert (files["vectors.safetensors"].size, files["config.json"].lfs) == (len(LARGE), None)
    # The id that git gives to this content.
    assert files["config.json"].blob_id == hashlib.sha1(b'blob 8\0{"a": 1}').hexdigest()


def test_what_has_not_changed_is_not_pushed_again(hub, joy, folder):
    before = len(joy.commits)
    assert upload_folder(repo_id="alice/joy", folder_path=folder).oid == joy.at().oid
    assert len(joy.commits) == before
    assert not any("/commit/" in line or "/uploads/" in line for line in asked(hub))


def test_a_file_in_a_folder_and_a_deletion(hub, joy):
    operations = [CommitOperationAdd("en/config.json", b"{}"), CommitOperationDelete("config.json")]
    HfApi().create_commit("alice/joy", operations, commit_message="Move")
    assert set(joy.files()) == {".gitattributes", "README.md", "en/config.json", "vectors.safetensors"}
    with pytest.raises(EntryNotFoundError):
        HfApi().delete_file("nothing.txt", "alice/joy")


def test_a_pull_request_leaves_main_alone(hub, client, folder):
    repository = hub.create("alice/joy", {"config.json": b"old"})
    done = upload_folder(repo_id="alice/joy", folder_path=folder, create_pr=True)
    assert (done.pr_url, done.pr_revision) == (f"{hub.url}/alice/joy/discussions/1", "refs/pr/1")
    main = repository.files()
    assert {name: repository.files("refs/pr/1")[name] for name in FILES} == FILES
    assert main["config.json"] == b"old"
    assert pulled("vectors.safetensors", revision="refs/pr/1") == LARGE


def test_who_may_not_write_may_open_a_pull_request(hub, joy, client, folder):
    client.use_token(hub.token("bob"))
    (folder / "config.json").write_text("{}")
    with pytest.raises(HfHubHTTPError, match="create_pr=1"):
        upload_folder(repo_id="alice/joy", folder_path=folder)
    assert upload_folder(repo_id="alice/joy", folder_path=folder, create_pr=True).pr_num == 1
    with pytest.raises(HfHubHTTPError, match=r"(?s)403.*rights to create"):
        huggingface_hub.create_repo("alice/fear")
    client.use_token(hub.token("alice", role="read"))
    with pytest.raises(HfHubHTTPError, match="403"):
        upload_folder(repo_id="alice/joy", folder_path=folder)
    assert len(joy.commits) == 2


def test_a_branch(hub, joy):
    huggingface_hub.create_branch("alice/joy", branch="draft")
    huggingface_hub.create_branch("alice/joy", branch="draft", exist_ok=True)
    hub.commit("alice/joy", {"config.json": b"{}"}, revision="draft")
    assert (pulled("config.json"), pulled("config.json", revision="draft")) == (FILES["config.json"], b"{}")


def test_a_push_on_an_old_parent_is_refused(hub, joy, folder):
    parent = joy.at().oid
    (folder / "config.json").write_text("{}")
    hub.before("/commit/main", lambda: hub.commit("alice/joy", {"README.md": CARD + b"More.\n"}))
    with pytest.raises(HfHubHTTPError, match=r"(?s)412.*A commit has happened since") as refused:
        upload_folder(repo_id="alice/joy", folder_path=folder, parent_commit=parent)
    assert refused.value.response.status_code == 412
    assert joy.files()["README.md"] == CARD + b"More.\n"
    assert joy.files()["config.json"] == FILES["config.json"]
    upload_folder(repo_id="alice/joy", folder_path=folder, parent_commit=joy.at().oid[:7])
    assert joy.files()["config.json"] == b"{}"


def test_two_pushes_at_once_come_one_after_the_other(hub, joy, client, monkeypatch):
    now = hub.store.now
    monkeypatch.setattr(hub.store, "now", lambda: time.sleep(0.05) or now())  # between reading the tip and moving it
    meet = threading.Barrier(2, timeout=10)
    hub.before("/commit/main", meet.wait, times=2)  # both have read before either has written

    def push(name: str) -> None:
        HfApi().upload_file(path_or_fileobj=b"x", path_in_repo=name, repo_id="alice/joy", commit_message=name)

    threads = [threading.Thread(target=push, args=(name,)) for name in ("a.txt", "b.txt")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"a.txt", "b.txt"} < set(joy.files())
    assert {commit.title for commit in joy.commits[:2]} == {"a.txt", "b.txt"}


# ------------------------------------------------------------------------------------------------------- pulling


def test_a_file_is_pulled_once_by_revision_and_offline(hub, joy, client):
    first = joy.at().oid
    assert pulled("vectors.safetensors") == LARGE
    assert pulled("config.json") == FILES["config.json"]
    hub.commit("alice/joy", {"config.json": b"{}"})
    since = len(hub.requests)
    assert pulled("config.json") == b"{}"
    assert pulled("config.json", revision=first) == FILES["config.json"]
    assert pulled("vectors.safetensors", revision=first) == LARGE
    assert asked(hub, since) == [f"{method} /alice/joy/resolve/main/config.json 200" for method in ("HEAD", "GET")]
    client.offline()
    since = len(hub.requests)
    assert pulled("config.json") == b"{}"
    with pytest.raises(OfflineModeIsEnabled):
        model_info("alice/joy")
    with pytest.raises(LocalEntryNotFoundError):
        pulled("README.md")
    assert len(hub.requests) == since


def test_what_is_not_there(hub, joy, client):
    with pytest.raises(EntryNotFoundError):
        pulled("nothing.json")
    with pytest.raises(RevisionNotFoundError):
        pulled("config.json", revision="nowhere")
    for token in (None, hub.token("bob")):
        client.use_token(token)
        with pytest.raises(RepositoryNotFoundError):
            model_info("alice/nothing")
    client.use_token("hf_wrong")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as refused:
        model_info("alice/joy")
    assert not isinstance(refused.value, RepositoryNotFoundError)


def test_private_and_gated(hub, client):
    hub.create("alice/private", FILES, private=True)
    hub.create("alice/gated", FILES, gated="manual")
    assert model_info("alice/private").private
    hf_hub_download("alice/gated", "config.json")
    statuses = []
    for token in (None, hub.token("bob")):
        client.use_token(token)
        with pytest.raises(RepositoryNotFoundError) as hidden:
            model_info("alice/private")
        assert model_info("alice/gated").gated == "manual"
        with pytest.raises(GatedRepoError) as closed:
            hf_hub_download("alice/gated", "README.md")
        statuses.append((hidden.value.response.status_code, closed.value.response.status_code))
    assert statuses == [(401, 401), (404, 403)]
    assert [model.id for model in list_models()] == ["alice/gated"]
    hub.grant("alice/private", "bob")
    hub.grant("alice/gated", "bob")
    assert model_info("alice/private").id == "alice/private"
    hf_hub_download("alice/gated", "README.md")


def test_parts_of_files(hub, joy, client):
    url = hf_hub_url("alice/joy", "vectors.safetensors")
    headers = {"Authorization": f"Bearer {hub.token('alice')}"}
    part = get_session().get(url, headers={**headers, "Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, LARGE[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(LARGE)}"
    assert get_session().get(url, headers={"Range": "bytes=-5"}).content == LARGE[-5:]
    assert get_session().get(url, headers={"Range": "bytes=204790-"}).content == LARGE[204790:]
    beyond = get_session().get(url, headers={"Range": f"bytes={len(LARGE)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(LARGE)}")
    [first, *_] = [request for request in hub.requests if request.server == "storage"]
    assert (first.range, first.sent, first.headers.get("authorization")) == ("bytes=10-19", 10, None)


def test_a_list_of_models(hub, client):
    for i in range(5):
        hub.create(f"user{i}/joy-{i}", {"README.md": CARD}, downloads=i, tags=("odd",) if i % 2 else ())
    hub.create("alice/other", {"README.md": b"# no tags\n"}, last_modified=datetime(2020, 1, 2, tzinfo=UTC))
    hub.page_size = 2
    found = list(list_models(filter=["emosteer", "steering"], sort="downloads"))
    assert [model.downloads for model in found] == [4, 3, 2, 1, 0]
    assert sum(request.path == "/api/models" for request in hub.requests) == 3
    assert [model.id for model in list_models(filter="odd", sort="downloads", limit=1)] == ["user3/joy-3"]
    assert [model.id for model in list_models(search="JOY-4")] == ["user4/joy-4"]
    [other] = list_models(search="other", expand=["lastModified", "sha"])
    assert (other.last_modified, other.tags) == (datetime(2020, 1, 2, tzinfo=UTC), None)


# ------------------------------------------------------------------------------------------------------ the card


@pytest.mark.parametrize(
    ("matter", "problem"),
    [
        ("license: apache-2.0\ntags: [a]", None),
        ("license: mine", '"license" must be one of'),
        ("tags: a", '"tags" must be a list of strings'),
        ("base_model: a b", '"base_model" with value "a b" is not valid'),
        ("base_model: o/m\nbase_model_relation: child", '"base_model_relation" must be one of'),
        ("license: mit\nlicense: mit", "duplicated mapping key: license"),
        ("a: [", "YAML metadata is not valid"),
        ("model-index: [{name: m, results: [{task: {type: t}}]}]", r'results\[0\].dataset" is required'),
        (
            "model-index: [{name: m, results: [{task: {type: t}, dataset: {type: d, name: d}, metrics: [{type: x}]}]}]",
            r'results\[0\].metrics.value" is required',
        ),
    ],
)
def test_the_front_matter_of_a_card(client, matter, problem):
    text = f"---\n{matter}\n---\n# Joy\n"
    if problem is None:
        ModelCard(text).validate()
    else:
        with pytest.raises(ValueError, match=problem):
            HfApi()._validate_yaml(text)


def test_a_card_without_front_matter_is_warned_of(client):
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        HfApi()._validate_yaml("# Joy\n")


# -------------------------------------------------------------------------------------------------------- faults


def test_a_failing_hub_is_asked_again(hub, joy, client):
    hub.fail("/resolve/main/config.json", status=503, times=2)
    assert pulled("config.json") == FILES["config.json"]
    assert [request.status for request in hub.requests] == [503, 503, 200, 200]
    hub.fail("/resolve/", status=500, times=100)
    with pytest.raises(LocalEntryNotFoundError):
        pulled("README.md")
    assert sum(client.naps) > 20


@pytest.mark.parametrize("headers", [{"Retry-After": "7"}, {"RateLimit": '"api";r=0;t=7'}])
def test_a_busy_hub_is_waited_for(hub, joy, client, headers):
    hub.fail("/preupload/", status=429, headers=headers)
    HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id="alice/joy")
    assert client.naps == [8.0]


def test_a_download_that_breaks_goes_on_where_it_was(hub, joy, client, monkeypatch):
    # The client resumes after whole chunks only: what is smaller than one, 10 MB, it asks for from the start.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    hub.cut("vectors.safetensors", after_bytes=70_000)
    assert pulled("vectors.safetensors") == LARGE
    ranges = [(request.range, request.sent) for request in hub.requests if request.server == "storage"]
    assert ranges == [(None, 70_000), ("bytes=60000-", len(LARGE) - 60_000)]
    assert client.naps == [1]


def test_a_download_that_breaks_starts_again_where_ranges_are_ignored(hub, joy, client, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 20_000)
    hub.cut("vectors.safetensors", after_bytes=70_000)
    hub.ignore_range("vectors.safetensors")
    assert pulled("vectors.safetensors") == LARGE
    replies = [(request.range, request.status) for request in hub.requests if request.server == "storage"]
    assert replies == [(None, 200), ("bytes=60000-", 200)]


def test_an_upload_that_breaks_is_sent_again(hub, joy, client):
    hub.cut("/uploads/", after_bytes=100_000)
    HfApi().upload_file(path_or_fileobj=LARGE[::-1], path_in_repo="b.safetensors", repo_id="alice/joy")
    puts = [(request.status, request.received) for request in hub.requests if request.method == "PUT"]
    assert puts == [(0, 100_000), (200, len(LARGE))]
    assert joy.files()["b.safetensors"] == LARGE[::-1]


def test_a_commit_whose_reply_is_lost_is_there_nevertheless(hub, joy, client):
    hub.lose_reply("/commit/main")
    with pytest.raises(httpx.TransportError):
        HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="a.txt", repo_id="alice/joy")
    assert joy.files()["a.txt"] == b"x"
    hub.cut("/commit/main", after_bytes=10)
    with pytest.raises(httpx.TransportError):
        HfApi().upload_file(path_or_fileobj=b"x", path_in_repo="b.txt", repo_id="alice/joy")
    assert "b.txt" not in joy.files()


def test_bytes_that_change_on_the_way(hub, joy, client):
    hub.corrupt("vectors.safetensors")
    wrong = pulled("vectors.safetensors")
    assert (len(wrong), wrong == LARGE) == (len(LARGE), False)  # the client does not look
    hub.corrupt("/uploads/", method="PUT")
    with pytest.raises(RuntimeError, match="Error while uploading"):
        HfApi().upload_file(path_or_fileobj=LARGE[::-1], path_in_repo="b.safetensors", repo_id="alice/joy")
    assert "b.safetensors" not in joy.files()


def test_a_cache_that_lags_behind(hub, joy, client):
    hub.commit("alice/joy", {"config.json": b"{}"})
    hub.stale("/resolve/main/config.json", times=2)  # for HEAD and GET
    assert pulled("config.json") == FILES["config.json"]
    assert model_info("alice/joy").sha == joy.at().oid
    assert pulled("config.json") == b"{}"


def test_a_slow_hub_and_a_fault_in_a_hook(hub, joy, client):
    hub.delay("/api/models/", seconds=0.2)
    with pytest.raises(httpx.TimeoutException):
        model_info("alice/joy", timeout=0.05)
    with pytest.raises(ExceptionGroup, match="in the loopback hub"), LoopbackHub() as other:  # noqa: PT012
        other.before("/api/models", lambda: 1 / 0)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{other.url}/api/models")
    assert httpx.post(f"{hub.url}/api/jobs").status_code == 501


# ---------------------------------------------------------------------------------------------------- the client


def test_nothing_goes_elsewhere_in_this_process(hub, tmp_path):
    from huggingface_hub.utils import _telemetry, send_telemetry

    ended = pytest.raises(AssertionError, match=r"reached beyond the loopback: \['example\.org'\]")
    with ended, connected(hub, tmp_path / "home", token=hub.token("alice")):
        send_telemetry("emosteer")
        _telemetry._TELEMETRY_QUEUE.join()
        with pytest.raises(httpx.ConnectError):
            httpx.get("http://example.org")
    assert hub.requests == []
    assert hub.url != huggingface_hub.constants.ENDPOINT
    assert (os.environ["HF_HUB_OFFLINE"] == "1") == huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_process_of_its_own(hub, folder, tmp_path):
    script = """if True:
        import json, sys, urllib.request
        from pathlib import Path
        import huggingface_hub as hf
        hf.create_repo("alice/joy", private=True)
        hf.upload_folder(repo_id="alice/joy", folder_path=sys.argv[1])
        path = Path(hf.hf_hub_download("alice/joy", "vectors.safetensors"))
        try:
            urllib.request.urlopen("https://example.org", timeout=5)
        except OSError as problem:
            refused = str(problem)
        print(json.dumps([str(path), len(path.read_bytes()), hf.model_info("alice/joy").sha, refused]))
    """
    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=environment(hub, home, token=hub.token("alice")),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    path, size, sha, refused = json.loads(done.stdout)
    repository = hub.repositories["alice/joy"]
    assert Path(path).is_relative_to(home)
    assert (size, sha, repository.private) == (len(LARGE), repository.at().oid, True)
    assert "501" in refused
    assert [request.path for request in hub.requests if request.status == 501] == ["/example.org:443"]
