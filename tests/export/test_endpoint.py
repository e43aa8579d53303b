"""The folder of an endpoint, served in a process of its own as the inference toolkit does.

The server below imports `handler.py` from the folder and calls it with each request in a thread, all at once; what a
handler raises it answers with the exception's text and status 400. The oracle is the model here, with hooks by hand
where the tone is plain addition.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

import emosteer
from emosteer.errors import FormatError, IncompatibleModelError, InputError
from emosteer.export import write_endpoint
from tests.conftest import tiny_config, tiny_model, tiny_tokenizer
from tests.layers.architectures import shrunk
from tests.oracle import added, deltas

SERVER = """
import importlib.util, json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

folder = sys.argv[1]
spec = importlib.util.spec_from_file_location("handler", Path(folder) / "handler.py")
sys.path.insert(0, folder)
handler = importlib.util.module_from_spec(spec)
sys.modules["handler"] = handler
spec.loader.exec_module(handler)
endpoint = handler.EndpointHandler(folder)

def predict(body):
    try:
        return 200, endpoint(body)
    except Exception as error:
        return 400, {"error": str(error)}

requests = json.load(sys.stdin)
with ThreadPoolExecutor(len(requests)) as pool:
    print(json.dumps(list(pool.map(predict, requests))))
"""
GREEDY = {"do_sample": False, "max_new_tokens": 12}
CHAT = [{"role": "user", "content": "How was your morning?"}]


def served(folder: Path, requests: list) -> list:
    """Status and answer of each, all asked at once of one new process."""
    env = {**os.environ, "PYTHONPATH": str(Path(emosteer.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SERVER, folder],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        cwd=folder,
        env=env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def request(inputs=CHAT, **parameters) -> dict:
    return {"inputs": inputs, "parameters": {**GREEDY, **parameters}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A tiny model and vectors for it, on disk."""
    root = tmp_path_factory.mktemp("endpoint")
    model = tiny_model(tiny_config(max_position_embeddings=1024))
    model.save_pretrained(root / "model")
    tiny_tokenizer().save_pretrained(root / "model")
    emosteer.EmotionVectors.random(model, ["joy", "fear", "calm"], seed=1).save_pretrained(root / "vectors")
    return root


@pytest.fixture(scope="module")
def folder(saved) -> Path:
    assert write_endpoint(saved / "vectors", saved / "out" / "endpoint", model=saved / "model") is None
    return saved / "out" / "endpoint"


@pytest.fixture(scope="module")
def twin(saved) -> emosteer.SteeredModel:
    return emosteer.SteeredModel.from_pretrained(saved / "model", vectors=saved / "vectors")


def test_requests_at_once_get_the_tones_that_each_asked_for(folder, twin):
    tones = [{"joy": 3.0}, {"fear": 3.0}, {"joy": 1.0, "calm": -2.0}, None]
    text = "Once upon a time"
    ids = twin.tokenizer(text, return_tensors="pt")["input_ids"]
    expected = []
    for tone in tones:
        answer = ids
        with added(twin.model.model.layers, deltas(twin.vectors, tone)), torch.no_grad():
            for _ in range(12):  # without a cache
                answer = torch.cat([answer, twin.model(input_ids=answer).logits[:, -1:].argmax(-1)], dim=1)
        expected.append(twin.tokenizer.decode(answer[0, ids.shape[1] :], skip_special_tokens=True))
    assert len(set(expected)) == len(tones)
    asked = [request(text, emotion=tone) for tone in tones] * 3
    assert served(folder, asked) == [[200, [{"generated_text": one}]] for one in expected * 3]


@pytest.mark.full
def test_messages_recipes_and_seeds_are_what_they_are_in_python(folder, twin):
    tone = {"joy": 2.0}
    drawn = {"temperature": 0.9, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1.1, "seed": 7}
    turns = [{**CHAT[0], "emotion": {"fear": 2.0}}]
    answers = served(
        folder,
        [
            request(emotion=tone),
            request(emotion=tone, recipe="natural"),
            {"inputs": CHAT, "parameters": {"emotion": tone, "max_new_tokens": 12, **drawn}},
            request(turns),
            {"inputs": CHAT},
            request(valence=0.4, arousal=-0.2),
            request(emotion=tone, seed=None, temperature=0.5),
            *({"inputs": "Once", "parameters": {"emotion": tone, "max_new_tokens": 12, **drawn}} for _ in range(2)),
            {"inputs": "Once", "parameters": {"emotion": tone, "max_new_tokens": 12, **drawn, "seed": 8}},
            request("Once", max_new_tokens=1000),
            request(emotion=tone, recipe="none"),
            request(emotion=tone, recipe="asked"),
            request("Once", emotion=tone, recipe="asked"),
        ],
    )
    sampled = {"max_new_tokens": 12, "do_sample": True, **drawn}
    texts = [answer[0]["generated_text"] if status == 200 else answer["error"] for status, answer in answers]
    expected = [
        twin.chat(CHAT, emotion=tone, **GREEDY),
        twin.chat(CHAT, emotion=tone, recipe="natural", **GREEDY),
        twin.chat(CHAT, emotion=tone, **sampled),
        twin.chat(turns, **GREEDY),
        twin.chat(CHAT),
    ]
    assert texts[:5] == expected
    assert len(set(expected)) == 5
    assert "0 emotions of these vectors have human valence" in texts[5]
    assert texts[6] == texts[0]  # null is not asked for, and a temperature does nothing where nothing is drawn
    assert texts[7] == texts[8] != texts[9]
    assert answers[10][0] == 200  # it ends where the model's context does
    assert texts[11:13] == [twin.chat(CHAT, emotion=tone, recipe=recipe, **GREEDY) for recipe in (None, "asked")]
    assert "needs messages" in texts[13]


@pytest.mark.full
def test_what_cannot_be_answered_is_an_error_that_says_why_and_the_next_is_answered(folder):
    wrong = {
        "There is no emotion 'bliss'": request(emotion={"bliss": 1.0}),
        "strength of 'joy' is 11, beyond ±10": request(emotion={"joy": 11}),
        "strength of 'joy' is 'loud'": request(emotion={"joy": "loud"}),
        "strength of 'joy' is 'nan'": request(emotion={"joy": float("nan")}),
        "The emotion is 'joy', expected an object": request(emotion="joy"),
        "either emotions or valence": request(emotion={"joy": 1.0}, valence=0.5),
        "There is no recipe 'magic'": request(recipe="magic"),
        "recipe is ['natural'], expected a text": request(recipe=["natural"]),
        "There is no parameter 'max_length'": request(max_length=9),
        "max_new_tokens is 1025, expected a whole number from 1 to 1024": request(max_new_tokens=1025),
        "max_new_tokens is True": request(max_new_tokens=True),
        "temperature is nan": request(temperature=float("nan")),
        "top_p is 2, expected a number from 0.01 to 1.0": request(top_p=2),
        "seed is -1": request(seed=-1),
        "do_sample is 'no', expected true or false": request(do_sample="no"),
        "The parameters are 'joy'": {"inputs": "Once", "parameters": "joy"},
        "The inputs are neither": {"parameters": {}},
        "neither a text nor messages": request(""),
        "neither a text nor": request({"text": "Once"}),
        "A conversation is a list of messages": request(["Once"]),
        "ends at 1024": request("Once " * 300),
    }
    *answers, last = served(folder, [*wrong.values(), request("Once")])
    for why, (status, answer) in zip(wrong, answers, strict=True):
        assert status == 400
        assert why in answer["error"], answer
    assert last[0] == 200


def test_the_folder_holds_what_it_needs(folder, saved):
    files = {path.name for path in folder.iterdir()}
    assert files == {"README.md", "endpoint.json", "handler.py", "model", "requirements.txt", "vectors"}
    assert {path.name for path in (folder / "vectors").iterdir()} == {"config.json", "vectors.safetensors"}
    for path in (folder / "vectors").iterdir():
        assert path.read_bytes() == (saved / "vectors" / path.name).read_bytes()
    wanted = Requirement((folder / "requirements.txt").read_text().strip())
    assert wanted.name == "emosteer"
    assert version("emosteer") in wanted.specifier
    assert "9.9" not in wanted.specifier
    card = (folder / "README.md").read_text()
    assert "joy, fear, calm" in card
    parameters = set(
        re.findall(r"`(\w+)`", "".join(line.split(" | ")[0] for line in card.splitlines() if "| `" in line))
    )
    from emosteer.export.handler import PARAMETERS

    assert parameters == set(PARAMETERS)


def test_a_model_on_the_hub_is_named_and_by_default_it_is_the_vectors_own(saved, tmp_path):
    assert write_endpoint(saved / "vectors", tmp_path / "a", model="user/name") == "user/name"
    assert json.loads((tmp_path / "a" / "endpoint.json").read_text())["model"] == "user/name"
    assert not (tmp_path / "a" / "model").exists()
    assert "`user/name`" in (tmp_path / "a" / "README.md").read_text()
    shipped = Path("vectors/smollm2-135m-instruct-en")
    file = shipped / "vectors.safetensors"
    for i, vectors in enumerate((shipped, file)):
        assert write_endpoint(vectors, tmp_path / str(i)) == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert (tmp_path / str(i) / "vectors" / file.name).read_bytes() == file.read_bytes()


def test_the_same_folder_twice_is_the_same_bytes(saved, tmp_path):
    for name in ("a", "b"):
        write_endpoint(saved / "vectors", tmp_path / name, model="user/name")
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_what_does_not_belong_together_leaves_no_folder(saved, tmp_path):
    tiny_model(tiny_config(num_hidden_layers=2)).save_pretrained(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    with pytest.raises(IncompatibleModelError, match=r"4 layers of width 32, the model in .* has 2 of 32"):
        write_endpoint(saved / "vectors", out, model=tmp_path / "other")
    with pytest.raises(InputError, match="holds no model"):
        write_endpoint(saved / "vectors", out, model=tmp_path / "empty")
    with pytest.raises(InputError, match="neither a folder nor a Hub id"):
        write_endpoint(saved / "vectors", out, model="no such model")
    with pytest.raises(InputError, match="name no Hub model"):
        write_endpoint(saved / "vectors", out)
    with pytest.raises(FormatError):
        write_endpoint(tmp_path / "none", out, model="user/name")
    with pytest.raises(InputError, match="is there already"):
        write_endpoint(saved / "vectors", saved / "vectors", model="user/name")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "other"]


@pytest.mark.filterwarnings("ignore")  # of transformers, about its own default configs
@pytest.mark.parametrize("model_type", ["longcat_flash", "deepseek_v4"])
def test_a_model_has_the_shape_of_its_blocks_whatever_its_config_counts(model_type, tmp_path):
    model = shrunk(model_type)
    model.config.save_pretrained(tmp_path / "model")
    emosteer.EmotionVectors.random(model, ["joy"]).save_pretrained(tmp_path / "vectors")
    assert write_endpoint(tmp_path / "vectors", tmp_path / "out", model=tmp_path / "model") is None


def test_a_copy_that_breaks_off_leaves_no_folder(saved, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(InputError, match="No space left"):
        write_endpoint(saved / "vectors", tmp_path / "out", model=saved / "model")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.embedded
def test_the_embedded_model_answers_as_it_does_here(real, tmp_path):
    real.model.save_pretrained(tmp_path / "model")
    real.tokenizer.save_pretrained(tmp_path / "model")
    write_endpoint("vectors/smollm2-135m-instruct-en", tmp_path / "out", model=tmp_path / "model")
    tones = [{"joy": 1.0}, {"sadness": 1.0}]
    expected = [real.chat(CHAT, emotion=tone, **GREEDY) for tone in tones]
    point = {"valence": -0.6, "arousal": 0.8}
    expected.append(real.chat(CHAT, emotion=emosteer.Affect(**point), recipe="natural", **GREEDY))
    asked = [request(emotion=tone) for tone in tones] + [request(**point, recipe="natural")]
    answers = [answer[0]["generated_text"] for _, answer in served(tmp_path / "out", asked)]
    assert answers == expected
    assert len(set(answers)) == 3
